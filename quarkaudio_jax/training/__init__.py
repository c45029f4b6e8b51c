"""One training loop, and the programs that it runs."""
