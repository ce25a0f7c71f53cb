"""Vendors: one folder or file per protocol. `protocol.py` says what all of them promise."""
