"""Self-supervised (SSL) speech models and their features."""
