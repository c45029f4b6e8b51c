"""`python -m quarkaudio_jax.compare` is `quarkaudio compare`."""

from quarkaudio_jax.cli.compare import main

if __name__ == "__main__":
    main()
