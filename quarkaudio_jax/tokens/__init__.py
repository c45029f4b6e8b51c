"""The third type, Tokens: tasks, the sequence of a request, the delay pattern, the vocabulary."""
