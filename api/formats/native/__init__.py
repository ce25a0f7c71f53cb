"""This service's own API."""
