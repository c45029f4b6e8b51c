"""What a user calls: codecs, task models, batched feature extraction."""
