"""Reports of the memory, FLOPs and time of compiled programs on TPU slices, from the TPU compiler without a TPU."""
