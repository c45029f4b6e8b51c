"""Wave <-> Codes: the H-Codec family."""
