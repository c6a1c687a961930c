"""What a run writes, read back and drawn."""
