"""CLAP: the audio tower, waveform to embedding. Its text tower is `text.clap`."""
