"""The vendors' wire protocols on loopback, so that the real vendor SDKs run without a network and misbehave on request.

Start with `app.py` (the URL map), then `exchange.py` (one call in order). `script.py` says how a caller steers an
answer.
"""
