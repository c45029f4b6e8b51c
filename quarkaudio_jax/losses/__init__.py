"""What training minimises, as pure functions of arrays."""
