"""Logical axes, device meshes, and multi-host initialization."""
