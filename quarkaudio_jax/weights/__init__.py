"""Checkpoints, and conversion of weights from and to PyTorch and Hugging Face."""
