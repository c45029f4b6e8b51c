"""`python -m quarkaudio_jax.convert` is `quarkaudio convert`."""

from quarkaudio_jax.cli.convert import main

if __name__ == "__main__":
    main()
