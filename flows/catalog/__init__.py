"""Catalogs of clips: reading, scheduling, and the outcome of each clip."""
