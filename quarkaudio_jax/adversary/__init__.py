"""Discriminators and their objectives."""
