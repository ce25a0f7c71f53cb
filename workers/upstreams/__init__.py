"""Upstreams: which one serves a call, and what is known of each."""
