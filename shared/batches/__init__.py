"""Batches and their files, for front doors and workers."""
