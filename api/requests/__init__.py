"""One request at the front door: admitted, enqueued, followed to its end, shown again."""
