"""Integers become clips of 16 bits."""
