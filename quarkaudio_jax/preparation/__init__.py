"""Preparing data: SSL model and codec at work on what `data` makes, shard by shard."""
