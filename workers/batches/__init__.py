"""Batches at work: fed into the queue at the pace vendors allow, finished, exported."""
