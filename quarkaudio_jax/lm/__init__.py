"""The language models: QuarkAudio's, its generation, and UniSE's."""
