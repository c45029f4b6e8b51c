"""Discriminators and adversarial losses of codec training."""
