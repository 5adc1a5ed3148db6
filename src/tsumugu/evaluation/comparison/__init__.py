"""Evaluated models side by side, beside what was published of others."""
