"""`python -m quarkaudio_jax VERB ...` is `quarkaudio VERB ...`."""

from quarkaudio_jax.cli.main import main

main()
