"""Evaluation of codecs and language models: datasets, systems, metrics, baselines."""
