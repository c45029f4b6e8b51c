"""What training minimizes, as pure functions of arrays."""
