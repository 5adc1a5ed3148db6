"""The tokens room: documents and a tokenizer in, memory-mapped shards and a loader out."""
