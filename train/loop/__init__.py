"""A run: steps, checkpoints, processes and signals."""
