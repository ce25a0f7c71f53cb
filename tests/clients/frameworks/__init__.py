"""Libraries against the service; `__main__.py` says how each is asked."""
