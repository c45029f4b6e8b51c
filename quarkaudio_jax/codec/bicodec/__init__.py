"""BiCodec (Spark-TTS, arXiv:2503.01710), UniSE's codec: 16 kHz, 32 global tokens and 50 semantic tokens per second.

Only inference is supported.
"""
