"""Simulates the vendors' wire protocols on loopback, so that the vendors' real SDKs run without a network. It can be
made to fail on request.

Start with `app.py` (the URL map), then `exchange.py` (one call, step by step). `script.py` says how a caller controls
an answer.
"""
