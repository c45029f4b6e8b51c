"""`python -m quarkaudio_jax.compile` is `quarkaudio compile`."""

from quarkaudio_jax.cli.compile import main

if __name__ == "__main__":
    main()
