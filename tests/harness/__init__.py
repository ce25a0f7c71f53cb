"""A whole system to test with: its processes, stores, proxies and callers."""
