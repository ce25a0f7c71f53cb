"""Upstreams: the choice of one for a call, and what workers know about each."""
