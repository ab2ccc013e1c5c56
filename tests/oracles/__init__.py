"""Slow, independent re-implementations that the compiled domains are tested against."""
