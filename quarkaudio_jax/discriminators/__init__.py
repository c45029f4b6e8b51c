"""Discriminators and adversarial objectives."""
