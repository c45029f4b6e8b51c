"""Training data: audio sources, manifests, simulation, prepared records and batches. NumPy only, no JAX."""
