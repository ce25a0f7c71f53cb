"""Clients of the APIs that this service is compatible with."""
