"""x."""
class ContainerError(ValueError):
    pass
