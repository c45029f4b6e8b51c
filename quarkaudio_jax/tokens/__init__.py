"""Tasks, sequences, the delay pattern and the vocabulary of the language model."""
