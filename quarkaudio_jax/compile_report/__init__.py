"""What a training step or an inference program needs of a TPU slice, read from the TPU compiler without a TPU."""
