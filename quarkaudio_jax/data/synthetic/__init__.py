"""The embedded corpus: synthetic speech, music and sound events, generated when read."""
