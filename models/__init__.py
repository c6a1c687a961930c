"""Sequence layers, one per file, and what stacks them."""
