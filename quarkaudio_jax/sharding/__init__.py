"""Logical axes, device meshes, and joining a pod."""
