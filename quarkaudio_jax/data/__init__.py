"""Audio for training: NumPy only, safe in Grain workers."""
