"""Metrics of reconstructions and of speech, NumPy only."""
