"""The queue, the journals of requests, and the workers' heartbeats."""
