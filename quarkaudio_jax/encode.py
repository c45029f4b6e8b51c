"""`python -m quarkaudio_jax.encode` is `quarkaudio encode`."""

from quarkaudio_jax.cli.encode import main

if __name__ == "__main__":
    main()
