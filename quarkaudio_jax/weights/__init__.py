"""Weights from and to PyTorch and Hugging Face, and our own checkpoints."""
