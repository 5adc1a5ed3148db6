"""The evaluation room: perplexity, n-gram baselines, and lm-evaluation-harness."""
