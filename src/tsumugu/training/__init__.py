"""The training room: tokens in, checkpoints and metrics out."""
