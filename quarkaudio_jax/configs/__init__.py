"""Packaged configurations: `--config=codec48k:tiny` is the variant `tiny` of codec48k.py. Docstrings record results."""
