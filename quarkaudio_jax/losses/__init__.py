"""Losses of codec training as pure functions."""
