"""Batches at the front door: reads files of lines and creates batches over them."""
