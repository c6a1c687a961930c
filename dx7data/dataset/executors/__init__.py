"""Who renders which shard.

Shards are independent and always the same, so who makes one, when, and how often does not matter.
"""
