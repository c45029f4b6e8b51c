"""`python -m quarkaudio_jax.prepare` is `quarkaudio prepare`."""

from quarkaudio_jax.cli.prepare import main

if __name__ == "__main__":
    main()
