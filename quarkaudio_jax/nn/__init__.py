"""Layers that know nothing of the project."""
