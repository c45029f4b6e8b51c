"""Tokens to tokens: the language model."""
