"""Stored responses: one response as its owner sees it, and the earlier responses that a request continues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from api.formats.asked import Asked, Earlier
from api.formats.responses.history import item_unknown, previous_unknown
from api.formats.responses.ids import request_id_of, response_id
from api.requests.log import LoggedRequest, State, answer_bytes, find_answer, find_request
from api.requests.view import as_served, error_of, state_of, usage_of
from shared.errors import ErrorBody, InvalidRequest, NotFound, error_body
from shared.ids import created_at
from shared.job import Done, unpack_answer
from shared.ledger.ledger import RESPONSES
from shared.queue.known import known_of
from shared.stores.postgres import reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg
    import redis.asyncio

    from api.http.bodies import Bodies, Body
    from shared.settings import Settings

WHAT = "Stored responses"


class Stored(msgspec.Struct, frozen=True):
    """A stored response: its request, and the fields of the request that it repeats."""

    logged: LoggedRequest
    repeated: bytes


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a request and its model; the answer, once the request has ended, or the error of one that failed."""

    state: State
    model: str
    done: Done | None
    error: ErrorBody | None


def own_id(response: str) -> str:
    """The request id of a response id. Raises `NotFound` for a text that is not a response id."""
    found = request_id_of(response)
    if found is None:
        raise unknown(response)
    return found


def unknown(response: str) -> NotFound:
    """The error for a missing or expired response, in OpenAI's words."""
    return NotFound(f"Response with id '{response[:100]}' not found.")


async def find_stored(pool: asyncpg.Pool, account_id: str, response: str) -> Stored:
    """The account's stored response. Raises `NotFound`, also for another account's and for one that was not stored, or
    `Unavailable`.
    """
    request_id = own_id(response)
    async with reached(WHAT):
        repeated = await pool.fetchval(RESPONSES["told"], request_id, account_id)
    if repeated is None:
        raise unknown(response)
    try:
        return Stored(await find_request(pool, account_id, request_id), repeated)
    except NotFound:  # its row was written before its request, which was then not admitted
        raise unknown(response) from None


async def standing_of(pool: asyncpg.Pool, client: redis.asyncio.Redis, logged: LoggedRequest) -> Standing:
    """The present state of the request. Raises `Unavailable`."""
    known = await known_of(client, logged.id)
    logged = as_served(logged, known)
    state, model = state_of(logged, known), logged.model
    if state in {"queued", "running"}:
        return Standing(state=state, model=model, done=None, error=None)
    answer = known.answer
    if answer is None and (kept := await find_answer(pool, logged.id)):
        answer = kept.done
    reason = logged.finish_reason or (known.end.finish_reason if isinstance(known.end, Done) else "")
    usage, error = usage_of(logged, known), error_of(logged, known)
    done = answer and msgspec.structs.replace(answer, finish_reason=reason, usage=usage or answer.usage)
    return Standing(state=state, model=model, done=done, error=error_body(error.code, error.message) if error else None)


async def bytes_stored(pool: asyncpg.Pool, stored: Stored) -> int:
    """The approximate bytes of the response including its answer. Raises `Unavailable`."""
    return len(stored.repeated) + await answer_bytes(pool, stored.logged.id)


async def input_bytes(pool: asyncpg.Pool, account_id: str, response: str) -> int:
    """The bytes that `find_input` reads. Raises `NotFound` or `Unavailable`."""
    return int(await _of_own(pool, "input_bytes", account_id, response))


async def find_input(pool: asyncpg.Pool, account_id: str, response: str) -> bytes:
    """The items of the input, as JSON. Raises `NotFound` or `Unavailable`."""
    return bytes(await _of_own(pool, "input", account_id, response))


async def _of_own(pool: asyncpg.Pool, query: str, account_id: str, response: str) -> Any:  # noqa: ANN401 - a column
    async with reached(WHAT):
        found = await pool.fetchval(RESPONSES[query], own_id(response), account_id)
    if found is None:
        raise unknown(response)
    return found


class Conversations:
    """Reads the responses that requests continue."""

    def __init__(self, pool: asyncpg.Pool, client: redis.asyncio.Redis, bodies: Bodies, settings: Settings) -> None:
        self._pool = pool
        self._client = client
        self._bodies = bodies
        self._settings = settings

    async def whole(self, asked: Asked, account_id: str, body: Body) -> Asked:
        """The complete request: `body` together with everything that it continues. Call this within the body's turn.
        Raises `NotFound` if an earlier response is missing, `InvalidRequest` if it has not ended or if everything
        together is too large, `Overloaded` or `Unavailable`.
        """
        continues = asked.continues
        if continues is None:
            return asked
        conversation = await self._newest_first(continues.previous, account_id) if continues.previous else {}
        others = await self._others(continues.others, account_id)
        together = sum(conversation.values()) + sum(others.values())
        if together + body.size > self._settings.body_bytes_max:
            raise InvalidRequest(
                f"The conversation is larger than {self._settings.body_bytes_max} bytes: begin another one.",
                param="previous_response_id",
            )
        async with self._bodies.turn_beside(body, together, account_id):
            earlier = await self._read([*conversation, *others])
            named = {one: earlier[one] for one in others}
            whole = continues.whole([earlier[one] for one in reversed(conversation)], named)
        ignored = tuple(dict.fromkeys((*asked.ignored, *whole.ignored)))
        return msgspec.structs.replace(whole, model=asked.model, ignored=ignored)

    async def _newest_first(self, newest: str, account_id: str) -> dict[str, int]:
        """Sizes of the earlier responses by request, newest first."""
        links_max = self._settings.messages_max
        async with reached(WHAT):
            rows = await self._pool.fetch(RESPONSES["conversation"], newest, account_id, links_max)
        if not rows:
            raise previous_unknown(response_id(newest))
        if gone := rows[-1]["previous_id"]:
            if len(rows) >= links_max:
                raise InvalidRequest(
                    f"The conversation has more than {links_max} responses: begin another one.",
                    param="previous_response_id",
                )
            raise previous_unknown(response_id(gone))
        return {row["request_id"]: row["size"] for row in rows}

    async def _others(self, wanted: Mapping[str, str], account_id: str) -> dict[str, int]:
        if not wanted:
            return {}
        async with reached(WHAT):
            rows = await self._pool.fetch(RESPONSES["sizes"], list(wanted), account_id)
        sizes = {row["request_id"]: row["size"] for row in rows}
        if missing := next((one for one in wanted if one not in sizes), None):
            raise item_unknown(wanted[missing])
        return sizes

    async def _read(self, request_ids: Sequence[str]) -> dict[str, Earlier]:
        moments = [created_at(one) for one in request_ids]
        async with reached(WHAT):
            rows = await self._pool.fetch(RESPONSES["conversation_parts"], request_ids, moments)
        found = {row["request_id"]: await self._earlier(row) for row in rows}
        if missing := next((one for one in request_ids if one not in found), None):
            raise previous_unknown(response_id(missing))
        return found

    async def _earlier(self, row: asyncpg.Record) -> Earlier:
        done = unpack_answer(row["answer"]).done if row["answer"] else None
        if done is None and row["state"] == "pending":
            done = await self._just_ended(row["request_id"])
        return Earlier(request_id=row["request_id"], repeated=row["told"], input=row["input"], done=done)

    async def _just_ended(self, request_id: str) -> Done | None:
        """The answer of a request that has just ended and whose answer is not in Postgres yet."""
        known = await known_of(self._client, request_id)
        if known.end is None:
            raise InvalidRequest(
                f"Previous response with id '{response_id(request_id)}' has not ended: wait for it.",
                param="previous_response_id",
            )
        return known.answer
