"""The providers and lanes, and the name of the queue of each pair."""

from __future__ import annotations

from typing import Literal, NewType, TypeAlias, get_args

PROVIDERS = ("openai", "bedrock", "deepseek", "gemini")
FLEX_PROVIDERS = ("openai", "gemini")
"""Those whose APIs know the service tier flex here."""
Lane = Literal["interactive", "batch", "flex"]
LANES: tuple[Lane, ...] = get_args(Lane)
"""`flex` is for every request of that service tier, single ones and lines of batches, so that its slow calls have slots of
their own.
"""
ServiceTier = Literal["default", "flex"]
"""What a request may ask for: a vendor's ordinary service, or slower calls at a lower price."""

QueueName = NewType("QueueName", str)
"""`q:<provider>:<lane>`: a sorted set of request ids by the time they are due, in Unix milliseconds."""
Feed: TypeAlias = str
"""What feeds the lines of batches to one queue: `openai` to the batch lane of that provider, `openai:flex` to its flex lane.
Cursors, lines and items of batches name it as their provider.
"""
FLEX = ":flex"


def queue_of(provider: str, lane: str) -> QueueName:
    """The queue of one provider and lane."""
    return QueueName(f"q:{provider}:{lane}")


def lanes_of(provider: str) -> tuple[Lane, ...]:
    """The lanes that a provider has."""
    return tuple(lane for lane in LANES if lane != "flex" or provider in FLEX_PROVIDERS)


def provider_of(name: QueueName) -> str:
    """The provider of a queue."""
    return name.split(":")[1]


def lane_of(name: QueueName) -> str:
    """The lane of a queue."""
    return name.split(":")[2]


def short_name(name: QueueName) -> str:
    """`provider:lane`, as operators and metrics call a queue."""
    return name.removeprefix("q:")


def is_patient(name: QueueName) -> bool:
    """Whether nobody waits at a front door for most of what is in the queue: it may not take all slots of a worker."""
    return lane_of(name) != "interactive"


def feed_of(provider: str, tier: ServiceTier) -> Feed:
    """What feeds a line for this provider at this tier."""
    return provider + FLEX if tier == "flex" else provider


def tier_of(feed: Feed) -> ServiceTier:
    """The tier of the lines that it feeds."""
    return "flex" if feed.endswith(FLEX) else "default"


def fed_queue(feed: Feed) -> QueueName:
    """The queue that it feeds."""
    lane: Lane = "flex" if tier_of(feed) == "flex" else "batch"
    return queue_of(feed.removesuffix(FLEX), lane)


FEEDS: tuple[Feed, ...] = (
    *(feed_of(provider, "default") for provider in PROVIDERS),
    *(feed_of(provider, "flex") for provider in FLEX_PROVIDERS),
)
