"""`python -m quarkaudio_jax.rate_distortion` is `quarkaudio rate-distortion`."""

from quarkaudio_jax.cli.rate_distortion import main

if __name__ == "__main__":
    main()
