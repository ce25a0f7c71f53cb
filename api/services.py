"""The parts of a front-door process, under one typed key of the application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg
import redis.asyncio
from aiohttp import web

from api.auth import Authenticator
from api.http.bodies import Bodies
from api.http.lists import Lists
from api.http.uploads import Uploads
from api.key_watch import KeyWatch
from api.operator_auth import OperatorAuth
from api.requests.abandoned import Abandoned
from api.requests.custody import Custody
from api.requests.directory import Directory
from api.requests.relay import Relay
from api.requests.request_events import RequestEvents
from api.requests.stored import Conversations
from api.requests.submit import Submitter
from shared.catalogue.models import Catalogue
from shared.ledger.ledger import Ledger
from shared.queue.queue import Queue
from shared.runtime.fair_turns import FairTurns
from shared.settings import Settings
from shared.stores.reach import Reach
from shared.stores.scripts import Scripts


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts; `app.py` creates them once, and endpoints read them."""

    settings: Settings
    pool: asyncpg.Pool
    redis: redis.asyncio.Redis
    catalogue: Catalogue
    bodies: Bodies
    admissions: FairTurns
    """Turns for admitting requests (checking, reserving, enqueueing), by account."""
    authenticator: Authenticator
    operator_auth: OperatorAuth
    key_watch: KeyWatch
    directory: Directory
    reach: Reach
    queue: Queue
    submitter: Submitter
    ledger: Ledger
    conversations: Conversations
    relay: Relay
    request_events: RequestEvents
    abandoned: Abandoned
    custody: Custody
    uploads: Uploads
    lists: Lists
    scripts: Scripts
    checking: asyncio.Lock
    """Held while the books are checked."""
    draining: asyncio.Event
    """Set when this process stops; every later answer closes its connection."""


SERVICES = web.AppKey("services", Services)
