"""Shards in, checkpoints out: rendering and training meet only at the files in a data-set folder."""
