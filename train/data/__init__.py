"""Shards or a plan become batches, in an order that can be resumed."""
