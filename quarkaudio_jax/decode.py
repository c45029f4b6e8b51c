"""`python -m quarkaudio_jax.decode` is `quarkaudio decode`."""

from quarkaudio_jax.cli.decode import main

if __name__ == "__main__":
    main()
