"""The worker's loop: claims jobs under a lease, renews the leases, and waits for more jobs."""
