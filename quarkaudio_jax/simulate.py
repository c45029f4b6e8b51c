"""`python -m quarkaudio_jax.simulate` is `quarkaudio simulate`."""

from quarkaudio_jax.cli.simulate import main

if __name__ == "__main__":
    main()
