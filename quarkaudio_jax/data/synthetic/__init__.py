"""The embedded corpus: synthetic speech, music and sound events, made on the fly."""
