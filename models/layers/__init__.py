"""Sequence layers, one a file, and what they share."""
