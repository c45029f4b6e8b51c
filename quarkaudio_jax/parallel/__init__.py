"""Meshes and shardings: the only place that knows mesh axis names."""
