"""Tsumugu: Japanese web pages in, a released and evaluated language model out."""

__version__ = "0.1.0"
