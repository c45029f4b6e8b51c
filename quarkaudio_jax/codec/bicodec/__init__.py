"""BiCodec (Spark-TTS, arXiv:2503.01710): 32 global tokens of a voice and 50 semantic tokens a second, to and from 16 kHz.

The codec of UniSE. Its weights are frozen here: encoding, decoding and conversion, no training.
"""
