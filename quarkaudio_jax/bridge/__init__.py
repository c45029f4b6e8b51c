"""PyTorch <-> us: tables of names, applied strictly in both directions."""
