"""One chat request at the front door: it is admitted, enqueued, followed to its end, and shown again."""
