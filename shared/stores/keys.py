"""Every Redis key and channel name, and the words they are made of. No secret and no prompt is ever part of one."""

from __future__ import annotations

from shared.lanes import QueueName, queue_of

LARGE = ":large"
"""Stands behind the queue's name in keys that are for its large jobs."""

WORKERS = "workers"
"""A set of the ids of workers that said hello; each has a `worker:<id>` that expires when it falls silent."""

SETTLES = "settles"
"""A hash of request id to settle record: what is owed to the ledger, until Postgres has committed it."""

KEPT = "kept"
"""A hash of how many bytes there are of what outlives its request: of `all`, and by the time at which it goes by itself."""

SETTLED, SETTLED_AT = "settled", "settled:at"
"""The same for what Postgres has committed a moment ago, and when (a sorted set of the ids): it may yet lose the commit."""


def queue(provider: str, lane: str) -> QueueName:
    """The queue of one provider and lane."""
    return queue_of(provider, lane)


def bell(name: QueueName) -> str:
    """A list that workers of the queue block on: one element wakes one worker."""
    return f"bell:{name}"


def large_bell(name: QueueName) -> str:
    """The same for large jobs that were left behind, for workers that have room for them."""
    return f"bell:{name}{LARGE}"


def turns(name: QueueName, *, large: bool = False) -> str:
    """A sorted set of the accounts that have small or large jobs waiting in the queue, by whose turn is next."""
    return f"turns:{name}{LARGE if large else ''}"


def line(name: QueueName, account_id: str, *, large: bool = False) -> str:
    """A sorted set of the account's small or large jobs that wait in the queue, by due time. It hints: the queue has the last
    word.
    """
    return f"line:{name}{LARGE if large else ''}:{account_id}"


def first(name: QueueName) -> str:
    """The id of the large job that comes before all others of its queue, because a worker had no room for it."""
    return f"first:{name}"


def held_up(name: QueueName) -> str:
    """A set of the workers that had no room for that job, and take no large ones until they have."""
    return f"held_up:{name}"


def running(name: QueueName, account_id: str) -> str:
    """A sorted set of the account's jobs from the queue that run, by the end of their leases."""
    return f"running:{name}:{account_id}"


def served(name: QueueName) -> str:
    """A sorted set of the accounts that had a turn lately, by the time of the last one."""
    return f"served:{name}"


def looked(name: QueueName) -> str:
    """Until when a claim has looked for what came due in the queue by itself."""
    return f"looked:{name}"


def payload_bytes(name: QueueName) -> str:
    """A hash of how many bytes the payloads of the queue have: of each account, of all small and of all large ones."""
    return f"bytes:{name}"


def own_bell(worker_id: str) -> str:
    """A list that one worker alone blocks on, beside the bells: an element lets it ask again, for other bells. The name of a
    queue also lets it claim: the job for which it had no room is out of its way.
    """
    return f"bell:{worker_id}"


def run(request_id: str) -> str:
    """A hash of what the scripts know of one request: its `account`, `epoch` and `owner` of its newest claim, the `queue`
    that it came from, `begun` (the owner of the claim that began its journal), `channel` (those of all front doors with a
    reader), `deadline` (Unix milliseconds), `bytes` of its payload and whether they are `large`, when its journal was `read`
    last, `dead`, `void`, `calls`, `refused`, `moved`, `waits`, `gone_on` (the epoch and the owner of the claim
    that put it into another queue).
    """
    return f"run:{request_id}"


def journal(request_id: str) -> str:
    """A list of the request's events; an event's position is its sequence number."""
    return f"journal:{request_id}"


def asked(request_id: str) -> str:
    """The job of a request that was charged, kept as long as its journal at most, so that it can be shown with its answer."""
    return f"asked:{request_id}"


def channel(front_door_id: str) -> str:
    """The pub/sub channel of one front-door process. Its first word says that the process knows messages which say who began
    the journal.
    """
    return f"relay.begun:{front_door_id}"


def worker(worker_id: str) -> str:
    """A worker's heartbeat: a JSON document that expires when the worker falls silent."""
    return f"worker:{worker_id}"


def rate(key_id: str) -> str:
    """The rate-limit state of one API key."""
    return f"rate:{key_id}"


def rated(request_id: str) -> str:
    """A mark that this was counted against its key's rate."""
    return f"rated:{request_id}"


COOLING = "cooling"
"""A sorted set of pace names by the Unix milliseconds until which their vendors want no calls."""


def upstream(name: str) -> str:
    """What all workers know of an upstream: its breaker, its calls, and what of its row is `shown` to operators."""
    return f"upstream:{name}"


def permits(name: str) -> str:
    """A sorted set of the calls to an upstream that recovers, which have a permit and no first byte yet."""
    return f"permits:{name}"


def check(token: str) -> str:
    """What came of a check that an operator has asked for; empty while a worker makes it."""
    return f"check:{token}"


def pace(name: str) -> str:
    """How many calls of a model an upstream takes at a tier, as `pace_name` has it."""
    return f"pace:{name}"
