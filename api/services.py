"""What a front-door process is made of, under one typed key of the application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg
import redis.asyncio
from aiohttp import web

from api.abandoned import Abandoned
from api.auth import Authenticator
from api.custody import Custody
from api.directory import Directory
from api.relay import Relay
from shared.catalogue import Catalogue
from shared.queue import Queue
from shared.settings import Settings
from shared.submit import Submitter


@dataclass(frozen=True, kw_only=True)
class Services:
    """Made once in `app.py`, read by the endpoints."""

    settings: Settings
    pool: asyncpg.Pool
    redis: redis.asyncio.Redis
    catalogue: Catalogue
    authenticator: Authenticator
    directory: Directory
    queue: Queue
    submitter: Submitter
    relay: Relay
    abandoned: Abandoned
    custody: Custody
    draining: asyncio.Event
    """Set when this process stops: every answer from then on closes its connection."""


SERVICES = web.AppKey("services", Services)
RATE_HEADERS = web.RequestKey("rate_headers", dict[str, str])
CLOSES = web.RequestKey("closes", bool)
"""Set when the connection cannot be used again: its answer says so."""
REQUEST_ID = web.RequestKey("request_id", str)
