"""`python -m quarkaudio_jax.evaluate` is `quarkaudio evaluate`."""

from quarkaudio_jax.cli.evaluate import main

if __name__ == "__main__":
    main()
