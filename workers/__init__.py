"""Workers: claim jobs under a lease, call the vendors, journal the answers and settle them."""
