"""The names of the Redis keys and channels that are not arq's. No secret and no prompt is ever part of one.

The Lua scripts make some of these names themselves, because they depend on what the scripts find; then the function here
explains the key, and tests read it.
"""

from __future__ import annotations

from shared.lanes import QueueName, queue_of

LARGE = ":large"
"""Suffix of the queue's name in keys for its large jobs."""

WORKERS = "workers"
"""A set of the ids of announced workers; each has a `worker:<id>` that expires when the worker falls silent."""

SETTLES = "settles"
"""A hash of settle records by request id: what is owed to the ledger until Postgres has committed it."""

KEPT = "kept"
"""A hash of the bytes that are kept of ended requests: the sum (`all`), and the sum for each time at which some of them
expire. For each such time, `kept:<ms>` is a list of the keys that expire then, each with its bytes.
"""

SETTLED, SETTLED_AT = "settled", "settled:at"
"""The settle records that Postgres committed a short time ago, and a sorted set of their ids by time: Postgres may
still lose these commits.
"""


def queue(provider: str, lane: str) -> QueueName:
    """The queue of one provider and lane."""
    return queue_of(provider, lane)


def bell(name: QueueName) -> str:
    """A list on which the queue's workers block; one element wakes one worker."""
    return f"bell:{name}"


def large_bell(name: QueueName) -> str:
    """A list on which workers with room for large jobs block: it is rung for large jobs that were left behind."""
    return f"bell:{name}{LARGE}"


def turns(name: QueueName, *, large: bool = False) -> str:
    """A sorted set of the accounts with small or large jobs waiting in the queue, by whose turn is next."""
    return f"turns:{name}{LARGE if large else ''}"


def line(name: QueueName, account_id: str, *, large: bool = False) -> str:
    """A sorted set of the account's waiting small or large jobs, by due time. It is a hint: the queue itself decides."""
    return f"line:{name}{LARGE if large else ''}:{account_id}"


def first(name: QueueName) -> str:
    """The id of the large job that goes before all others of its queue, because a worker had no room for it."""
    return f"first:{name}"


def held_up(name: QueueName) -> str:
    """A set of the workers that had no room for that job; they take no large jobs until they have."""
    return f"held_up:{name}"


def running(name: QueueName, account_id: str) -> str:
    """A sorted set of the account's running jobs of the queue, by the end of their leases."""
    return f"running:{name}:{account_id}"


def served(name: QueueName) -> str:
    """A sorted set of the accounts that had a turn lately, by the time of the last one."""
    return f"served:{name}"


def looked(name: QueueName) -> str:
    """The time until which a claim has looked for jobs that became due without being enqueued."""
    return f"looked:{name}"


def payload_bytes(name: QueueName) -> str:
    """A hash of the queue's payload bytes: by account, of all small and of all large ones."""
    return f"bytes:{name}"


def own_bell(worker_id: str) -> str:
    """A list on which one worker alone blocks, beside the bells. An element makes it choose its bells anew; a queue's name
    also lets it claim, because the job that it had no room for is gone.
    """
    return f"bell:{worker_id}"


def run(request_id: str) -> str:
    """A hash of what Redis knows of one request. Scripts write it, and `note_calls` of `workers/request/past.py`.

    field           written by         meaning
    account         enqueue            the account whose turn it takes
    deadline        enqueue            Unix milliseconds
    channel         enqueue, listen,   channels of all front doors with a reader, with spaces between
                    abort, read
    bytes, large    enqueue, move      size of the payload; 1 if the job is large
    goes_on         enqueue, move      1 if another model of its chain may serve it
    epoch           claim, enqueue,    of the newest claim; a tombstone and a move without a claim raise it, too
                    move, tombstone
    owner           claim, move        of the newest claim; empty after a move
    queue           claim, move        the queue where it was claimed last, or that it was moved to
    call:<epoch>    renew              the vendor's call of that claim: number and upstream
    begun           append             the owner of the claim that began its journal
    upstream        append             the upstream that the first event of its journal came from
    read            append, read       when its journal was read last, or ended with a reader; Unix milliseconds
    calls           move, note_calls   calls of vendors so far
    refused, moved  move, note_calls   calls of the present model without capacity; those that went elsewhere at once
    lost            move, note_calls   calls that nobody is charged for, packed
    waits           move, note_calls   how often it went back to a queue by itself
    waits_since     move, note_calls   since when no upstream was available to it, Unix milliseconds; 0 if one was
    gone_on         move               epoch and owner of the claim that moved it
    dead            tombstone          1 if it must never run
    void            tombstone          1 if it may end, but not charged
    """
    return f"run:{request_id}"


def staged(request_id: str, attempt: str) -> str:
    """The large payload of a job that is being enqueued. Each attempt has its own."""
    return f"staged:{request_id}:{attempt}"


def journal(request_id: str) -> str:
    """A list of the request's events; an event's position is its sequence number."""
    return f"journal:{request_id}"


def asked(request_id: str) -> str:
    """The job of a charged request, kept at most as long as its journal, so that its messages can be
    shown with the answer.
    """
    return f"asked:{request_id}"


def channel(front_door_id: str) -> str:
    """The pub/sub channel of one front-door process. Its first word says that the process understands messages with the
    owner that began the journal.
    """
    return f"relay.begun:{front_door_id}"


def worker(worker_id: str) -> str:
    """A worker's heartbeat: a JSON document that expires when the worker falls silent."""
    return f"worker:{worker_id}"


def rate(key_id: str) -> str:
    """The rate-limit state of one API key."""
    return f"rate:{key_id}"


def rated(request_id: str) -> str:
    """A mark that the request was counted against its key's rate."""
    return f"rated:{request_id}"


COOLING = "cooling"
"""A sorted set of pace names by the Unix milliseconds until which their vendors refuse calls."""


def upstream(name: str) -> str:
    """The data that all workers share about an upstream: its breaker, its calls, and the part of its row that operators
    are `shown`.
    """
    return f"upstream:{name}"


def permits(name: str) -> str:
    """A sorted set of calls with a permit to a recovering upstream that have no first byte yet."""
    return f"permits:{name}"


def check(token: str) -> str:
    """The outcome of a check that an operator asked for; empty while a worker makes it."""
    return f"check:{token}"


def pace(name: str) -> str:
    """The number of calls of a model that an upstream takes at a tier, by `pace_name`."""
    return f"pace:{name}"
