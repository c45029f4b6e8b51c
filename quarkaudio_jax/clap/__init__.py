"""CLAP's audio encoder; its text encoder is `text.clap`."""
