"""Typed keys under which middleware, endpoints and body readers share values of the application and of one request."""

from __future__ import annotations

from aiohttp import web

from api.http.read_turns import ReadTurns
from api.http.refusal_pace import RefusalPace
from shared.runtime.byte_budget import ByteBudget
from shared.runtime.growing_room import GrowingRoom
from shared.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
"""The settings, kept with the application."""
ANSWERS = web.AppKey("answers", ByteBudget)
"""Room for large answers that this process is sending, by account."""
RESULTS = web.AppKey("results", ByteBudget)
"""Room for batch results that this process is sending, by account."""
READS = web.AppKey("reads", ReadTurns)
"""Turns for reading large bodies."""
REFUSAL_PACE = web.AppKey("refusal_pace", RefusalPace)
"""The pace at which accounts are refused."""
HELD_STREAMS = web.AppKey("held_streams", GrowingRoom)
"""Room for streams that keep what they sent until their end, by account."""

# of one request
ASKED_BY = web.RequestKey("asked_by", str)
"""The account whose body is read, once its key is known."""
RATE_HEADERS = web.RequestKey("rate_headers", dict[str, str])
"""Headers with what is left of the key's rate; every answer to the request carries them."""
CLOSES = web.RequestKey("closes", bool)
"""Set if the connection cannot be reused; the answer then says `Connection: close`."""
MAY_BE_SILENT = web.RequestKey("may_be_silent", bool)
"""Set if the answer, once begun, may send nothing for long."""
REQUEST_ID = web.RequestKey("request_id", str)
