"""Talking to a model: text that it writes, and conversations with it."""
