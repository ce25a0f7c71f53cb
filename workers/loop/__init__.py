"""The worker's loop: claims jobs under a lease, renews, waits for the next."""
