"""Experiments by name: `--config=codec48k:tiny` is the variant `tiny` of codec48k.py here. Each file's docstring is its lab note."""
