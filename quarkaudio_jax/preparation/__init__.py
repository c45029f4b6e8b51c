"""Preparation of training data: SSL features and codes of simulated examples, shard by shard."""
