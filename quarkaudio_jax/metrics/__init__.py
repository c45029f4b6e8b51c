"""What evaluate computes."""
