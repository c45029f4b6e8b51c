"""Public API: codecs, task models and batched feature extraction."""
