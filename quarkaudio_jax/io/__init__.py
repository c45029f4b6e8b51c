"""Files and signals in NumPy: audio, token files, atomic writes, resampling, mel filters. No JAX."""
