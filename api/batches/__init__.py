"""Batches at the front door: files of lines are taken in, and batches are made over them."""
