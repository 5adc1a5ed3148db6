"""The tokenizer room: documents in, a SentencePiece model and its exact fast twin out."""
