"""Reads from Redis what earlier attempts of a request have left, and records calls for the next attempt. Nothing else
in Python reads the hash of `keys.run`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.job import bytes_of, unpack_event, unpack_settlement
from shared.ledger.settlement import LostCall, Settlement
from shared.queue.known import MANY, ONE, Journaled
from shared.stores import keys
from shared.stores.redis_client import reached

if TYPE_CHECKING:
    import redis.asyncio

    from workers.request.billing import Received

RUN_LIVE_S = 86_400
CALL_OF = b"call:"
_lost_calls = msgspec.msgpack.Decoder(tuple[LostCall, ...])


class CallOfClaim(NamedTuple):
    """A call that a vendor had when the lease of the claim with this `epoch` was renewed; `number` counts calls
    from 1.
    """

    epoch: int
    number: int
    upstream: str


class Past(Journaled, frozen=True):
    """The traces of earlier attempts: a journal with `bytes`, and the number of `calls` to vendors. If the request has
    ended, `settlement` may still have to be settled.
    """

    bytes: int = 0
    calls: int = 0
    refused: int = 0
    """Calls that found no capacity."""
    rerouted: int = 0
    """Calls after which the next one went to another upstream at once."""
    lost: tuple[LostCall, ...] = ()
    """Calls that came to nothing although their vendors bill them."""
    upstream: str | None = None
    """The upstream that the journal's events come from."""
    calls_of_claims: tuple[CallOfClaim, ...] = ()
    """Calls that renewals of leases recorded."""
    waits_since_ms: int = 0
    """The time since which no upstream was open for the request, in Unix milliseconds; 0 if one was."""
    waits: int = 0
    """The number of times that the request went back to the queue by itself."""
    settlement: Settlement | None = None

    @property
    def length(self) -> int:
        """The number of events."""
        return len(self.events)

    @property
    def text_bytes(self) -> int:
        """Bytes of the answer so far."""
        return sum(map(bytes_of, self.parts))

    @property
    def pieces(self) -> int:
        """The pieces in which the vendor sent them."""
        return sum(part.pieces for part in self.parts)


class Waiting(NamedTuple):
    """The state in Redis of a request in a queue: the account that asked (empty if that is unknown), the epoch of its
    newest claim, and whether another model may serve it.
    """

    id: str
    account_id: str
    epoch: int
    goes_on: bool


async def waiting_of(client: redis.asyncio.Redis, request_ids: Sequence[str]) -> list[Waiting]:
    """The states in Redis of these requests. Raises `Unavailable`."""
    with reached(MANY):
        async with client.pipeline(transaction=False) as pipe:
            for one in request_ids:
                pipe.hmget(keys.run(one), ["account", "epoch", "goes_on"])
            runs = await pipe.execute()
    return [
        Waiting(one, (account or b"").decode(), int(epoch or 0), goes_on == b"1")
        for one, (account, epoch, goes_on) in zip(request_ids, runs, strict=True)
    ]


async def look_back(client: redis.asyncio.Redis, request_id: str) -> Past:
    """Read the journal, the recorded calls and the settle record of a request. Raises `Unavailable`."""
    with reached(ONE):
        async with client.pipeline(transaction=False) as pipe:
            pipe.lrange(keys.journal(request_id), 0, -1)
            pipe.hgetall(keys.run(request_id))
            pipe.hget(keys.SETTLES, request_id)
            journal, run, record = await pipe.execute()
    return Past(
        events=tuple(map(unpack_event, journal)),
        bytes=sum(map(len, journal)),
        settlement=unpack_settlement(record) if record else None,
        **_recorded(run),
    )


async def look_back_at_calls(client: redis.asyncio.Redis, request_id: str) -> Past:
    """Only the recorded calls of a request, without its journal, which may be large. Raises `Unavailable`."""
    with reached(ONE):
        return Past(**_recorded(await client.hgetall(keys.run(request_id))))  # type: ignore[misc] # typed for both clients


def _recorded(run: Mapping[bytes, bytes]) -> dict[str, Any]:
    return {
        "calls": int(run.get(b"calls", 0)),
        "refused": int(run.get(b"refused", 0)),
        "rerouted": int(run.get(b"moved", 0)),
        "lost": _lost_calls.decode(run[b"lost"]) if b"lost" in run else (),
        "upstream": run.get(b"upstream", b"").decode() or None,
        "calls_of_claims": tuple(_calls_of_claims(run)),
        "waits_since_ms": int(run.get(b"waits_since", 0)),
        "waits": int(run.get(b"waits", 0)),
    }


def _calls_of_claims(run: Mapping[bytes, bytes]) -> Iterator[CallOfClaim]:
    for name, value in run.items():
        if name.startswith(CALL_OF):
            number, _, upstream = value.decode().partition(" ")
            yield CallOfClaim(int(name.removeprefix(CALL_OF)), int(number), upstream)


def packed_lost(received: Received) -> bytes:
    """The calls that nobody is charged for, as the run's hash stores them; empty for none."""
    return msgspec.msgpack.encode(received.lost) if received.lost else b""


async def note_calls(client: redis.asyncio.Redis, request_id: str, received: Received) -> None:
    """Record the calls so far, their outcomes, and that the request waits deliberately, for the next attempt. Raises
    `Unavailable`.
    """
    noted: dict[str, str | bytes] = {
        "calls": str(received.calls),
        "refused": str(received.refused),
        "moved": str(received.rerouted),
        "waits_since": str(received.waits_since_ms),
    }
    if lost := packed_lost(received):
        noted["lost"] = lost
    await note_wait(client, request_id, **noted)


async def note_wait(client: redis.asyncio.Redis, request_id: str, **noted: str | bytes) -> None:
    """Record that the request waits deliberately, and what else is `noted`. Raises `Unavailable`."""
    with reached(ONE):
        async with client.pipeline(transaction=False) as pipe:
            if noted:
                pipe.hset(keys.run(request_id), mapping=noted)
            pipe.hincrby(keys.run(request_id), "waits", 1)
            pipe.expire(
                keys.run(request_id), RUN_LIVE_S
            )  # the hash may be new because Redis was emptied, and must expire
            await pipe.execute()
