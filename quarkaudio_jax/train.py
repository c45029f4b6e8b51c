"""`python -m quarkaudio_jax.train` is `quarkaudio train`."""

from quarkaudio_jax.cli.train import main

if __name__ == "__main__":
    main()
