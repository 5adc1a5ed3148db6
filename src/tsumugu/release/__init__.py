"""The release room: a Hugging Face model directory that transformers loads as it is."""
