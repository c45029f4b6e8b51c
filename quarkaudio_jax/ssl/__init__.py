"""Wave -> self-supervised (SSL) features."""
