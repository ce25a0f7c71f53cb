"""Which upstream serves a call, and what is known of each."""
