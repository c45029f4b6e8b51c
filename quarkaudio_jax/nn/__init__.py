"""General layers and signal processing in JAX."""
