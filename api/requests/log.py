"""The request log for its owner: one request, a page of requests, and kept answers."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal, NamedTuple

import asyncpg
import msgspec

from shared.errors import NotFound
from shared.ids import created_at
from shared.job import KeptAnswer, unpack_answer
from shared.ledger.chains import PinnedModel, Tried, chain_from_json
from shared.ledger.pinned_price import PinnedPrice
from shared.ledger.rows import mismatch
from shared.money import NanoUsd
from shared.stores.postgres import NEWEST, load_queries, reached

SQL = load_queries("request_log")
_tried_decoder = msgspec.json.Decoder(tuple[Tried, ...])
_OF_A_MODEL = ("model", "provider", "output_limit", *PinnedPrice.__struct_fields__)
"""Columns of a request's row that depend on the model that serves it."""
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
"""The state of a request, as its owner sees it."""


class LoggedRequest(PinnedPrice, frozen=True, kw_only=True):
    """A row of `requests`. `state` is `pending` until the request has ended."""

    id: str
    created_at: datetime
    account_id: str
    key_id: str
    model: str
    provider: str
    lane: str
    stream: bool
    output_limit: int
    hold_nano: NanoUsd
    deadline_at: datetime
    keep_until: datetime | None
    metadata: dict[str, str] | None
    state: Literal["pending", "succeeded", "failed", "cancelled"]
    ended_at: datetime | None
    tokens_input: int | None
    tokens_output: int | None
    tokens_cached: int | None
    tokens_cache_written: int | None
    tokens_cache_written_long: int | None
    tokens_reasoning: int | None
    usage_estimated: bool | None
    charged_nano: NanoUsd
    finish_reason: str | None
    error_code: str | None
    error_message: str | None
    attempts: int
    served_tier: str | None
    saved_nano: NanoUsd | None
    chain: tuple[PinnedModel, ...] | None
    """All models that may serve the request, with the prices of its admission; None for a single model."""
    tried: tuple[Tried, ...] | None
    """The outcomes of the models that were tried, once the request has ended."""
    outlives_reader: bool
    """True if the request runs on after its last reader has left; otherwise it is cancelled then."""

    @property
    def fell_back(self) -> bool:
        """True if another model than the first one served the request, or was tried last."""
        return bool(self.chain) and self.model != self.chain[0].model  # type: ignore[index]

    def at(self, model: str) -> LoggedRequest:
        """The row as it will be if that model of the chain serves the request."""
        for one in self.chain or ():
            if one.model == model:
                same = {name: getattr(one, name) for name in _OF_A_MODEL}
                return msgspec.structs.replace(self, **same)
        return self


async def find_request(pool: asyncpg.Pool, account_id: str, request_id: str) -> LoggedRequest:
    """The account's request with this id. Raises `NotFound`, also for another account's, or `Unavailable`."""
    try:
        moment = created_at(request_id)
    except ValueError:
        raise _unknown() from None
    async with reached("The request log"):
        row = await pool.fetchrow(SQL["find"], request_id, moment, account_id)
    if row is None:
        raise _unknown()
    return _from_row(row)


class Search(NamedTuple):
    """The conditions of a search: the state (`pending` for requests that have not ended), and models with `text` in
    their names or the key `text`. None means any.
    """

    state: str | None = None
    text: str | None = None


class Found(NamedTuple):
    """The requests that were found, newest first. `next_cursor` leads to requests that were not searched yet; None if
    all were.
    """

    requests: list[LoggedRequest]
    next_cursor: str | None


async def search_requests(
    pool: asyncpg.Pool, account_id: str, search: Search, *, after: str | None, limit: int, rows_max: int
) -> Found:
    """At most `limit` matching requests among the `rows_max` newest ones, or among as many before the request `after`, so
    that the time of a page is bounded. Raises as `list_requests` does.
    """
    before_id, before = _place(after)
    async with reached("The request log"):
        arguments = (account_id, before, before_id, limit + 1, rows_max, search.state, search.text)
        found = [_from_row(row) for row in await pool.fetch(SQL["search"], *arguments)]
        if len(found) > limit:
            return Found(found[:limit], found[limit - 1].id)
        return Found(found, await pool.fetchval(SQL["search_end"], account_id, before, before_id, rows_max))


async def list_requests(pool: asyncpg.Pool, account_id: str, *, after: str | None, limit: int) -> list[LoggedRequest]:
    """The newest requests, or those before the request with the id `after`. Raises `NotFound` if that is not an id, or
    `Unavailable`.
    """
    before_id, before = _place(after)
    async with reached("The request log"):
        rows = await pool.fetch(SQL["page"], account_id, before, before_id, limit)
    return [_from_row(row) for row in rows]


def _place(after: str | None) -> tuple[str, datetime]:
    try:
        return (after, created_at(after)) if after else NEWEST
    except ValueError:
        raise _unknown() from None


async def find_repeated(pool: asyncpg.Pool, account_id: str, key: bytes, fingerprint: bytes) -> str | None:
    """The id of the request that an Idempotency-Key leads to; None if there is none, or if the key may be used again.
    Both arguments are SHA-256. The result may be outdated at once: `reserve` decides. Raises `IdempotencyMismatch` or
    `Unavailable`.
    """
    async with reached("The request log"):
        row = await pool.fetchrow(SQL["by_key"], account_id, key)
    if row is None:
        return None
    if row["fingerprint"] != fingerprint:
        raise mismatch()
    return None if row["free"] else row["request_id"]


async def find_answer(pool: asyncpg.Pool, request_id: str) -> KeptAnswer | None:
    """The kept answer; None if it has expired or is not kept. Raises `Unavailable`."""
    async with reached("The request log"):
        answer = await pool.fetchval(SQL["answer"], request_id, created_at(request_id))
    return None if answer is None else unpack_answer(answer)


async def answer_bytes(pool: asyncpg.Pool, request_id: str) -> int:
    """The size of the kept answer; 0 if there is none. Raises `Unavailable`."""
    async with reached("The request log"):
        return int(await pool.fetchval(SQL["answer_bytes"], request_id, created_at(request_id)) or 0)


def _from_row(row: asyncpg.Record) -> LoggedRequest:
    metadata = row["metadata"]
    chain, tried = row["chain"], row["tried"]
    read = {
        "metadata": None if metadata is None else json.loads(metadata),
        "chain": None if chain is None else chain_from_json(chain),
        "tried": None if tried is None else _tried_decoder.decode(tried),
    }
    return LoggedRequest(**{**row, **read})


def _unknown() -> NotFound:
    return NotFound("There is no such request: GET /api/requests lists yours.")
