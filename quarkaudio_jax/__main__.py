"""`python -m quarkaudio_jax VERB ...` is `quarkaudio VERB ...`."""

from quarkaudio_jax.cli import main

main()
