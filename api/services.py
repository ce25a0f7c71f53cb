"""What a front-door process is made of, under one typed key of the application."""

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
from api.requests.following import FollowUp
from api.requests.relay import Relay
from api.requests.stored import Chains
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
    """Made once in `app.py`, read by the endpoints."""

    settings: Settings
    pool: asyncpg.Pool
    redis: redis.asyncio.Redis
    catalogue: Catalogue
    bodies: Bodies
    admissions: FairTurns
    """Of requests that are understood, held for and enqueued, by account."""
    authenticator: Authenticator
    operator_auth: OperatorAuth
    key_watch: KeyWatch
    directory: Directory
    reach: Reach
    queue: Queue
    submitter: Submitter
    ledger: Ledger
    chains: Chains
    relay: Relay
    follow_up: FollowUp
    abandoned: Abandoned
    custody: Custody
    uploads: Uploads
    lists: Lists
    scripts: Scripts
    checking: asyncio.Lock
    """Held while the books are checked."""
    draining: asyncio.Event
    """Set when this process stops: every answer from then on closes its connection."""


SERVICES = web.AppKey("services", Services)
