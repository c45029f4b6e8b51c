"""Benchmarks; every script prints a Markdown table and the machine."""
