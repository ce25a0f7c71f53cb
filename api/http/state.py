"""What the layers of one HTTP request tell each other."""

from __future__ import annotations

from aiohttp import web

from shared.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
"""Of the application; everything else here is of one request."""
RATE_HEADERS = web.RequestKey("rate_headers", dict[str, str])
CLOSES = web.RequestKey("closes", bool)
"""Set when the connection cannot be used again: its answer says so."""
REQUEST_ID = web.RequestKey("request_id", str)
