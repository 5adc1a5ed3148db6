"""The model room: one plain decoder that knows nothing about devices or parallelism."""
