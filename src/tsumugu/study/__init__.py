"""Studies: the same recipe trained in several ways, side by side, and one page about what came out."""
