"""Task files for lm-evaluation-harness, their data, and the rules by which answers are scored."""
