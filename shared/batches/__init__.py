"""Batches and their files, as front doors and workers both know them."""
