"""Waves to codes and back: H-Codec and BiCodec."""
