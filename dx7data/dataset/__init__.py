"""Folders of shards: written, read back, checked and mended."""
