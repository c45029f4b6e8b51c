"""Text encoders and their features."""
