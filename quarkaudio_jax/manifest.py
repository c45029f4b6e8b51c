"""`python -m quarkaudio_jax.manifest` is `quarkaudio manifest`."""

from quarkaudio_jax.cli.manifest import main

if __name__ == "__main__":
    main()
