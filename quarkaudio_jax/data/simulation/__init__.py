"""Simulated training examples, one function per task: (inputs, rng) -> example."""
