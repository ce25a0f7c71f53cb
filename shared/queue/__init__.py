"""The queue, the journals of requests, heartbeats of workers, and states of upstreams."""
