"""quarkaudio_jax: H-Codec and the QuarkAudio language model in JAX."""

__version__ = "0.1.0"
