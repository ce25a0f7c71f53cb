"""Workers: take jobs under a lease, call the vendors, journal the answers, settle."""
