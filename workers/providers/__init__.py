"""Vendors: one folder or file for each protocol; `protocol.py` says what all of them promise."""
