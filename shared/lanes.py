"""The lanes, and the name of the queue of each provider and lane."""

from __future__ import annotations

from typing import Literal, NewType, TypeAlias, get_args

from shared.vendors import FLEX_PROVIDERS, PROVIDERS

Lane = Literal["interactive", "batch", "flex"]
LANES: tuple[Lane, ...] = get_args(Lane)
"""The lanes. All requests of the tier flex, single ones and lines of batches, are in the lane `flex`, so that their
slow calls have slots of their own.
"""
ServiceTier = Literal["default", "flex"]
"""The service tier of a request: the vendor's ordinary service, or slower calls at a lower price."""

QueueName = NewType("QueueName", str)
"""`q:<provider>:<lane>`: a sorted set of request ids by due time, in Unix milliseconds."""
Feed: TypeAlias = str
"""The name of what feeds batch lines to one queue: `openai` feeds the provider's batch lane, `openai:flex` its flex
lane. In the rows of cursors, lines and items of batches, the column `provider` has this name.
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
    """`provider:lane`, the name of a queue for operators and metrics."""
    return name.removeprefix("q:")


def is_patient(name: QueueName) -> bool:
    """True if few or no front doors wait for the queue's jobs; such a queue may not take all slots of a worker."""
    return lane_of(name) != "interactive"


def feed_of(provider: str, tier: ServiceTier) -> Feed:
    """The feed for lines of this provider at this tier."""
    return provider + FLEX if tier == "flex" else provider


def tier_of(feed: Feed) -> ServiceTier:
    """The tier of a feed's lines."""
    return "flex" if feed.endswith(FLEX) else "default"


def fed_queue(feed: Feed) -> QueueName:
    """The queue of a feed."""
    lane: Lane = "flex" if tier_of(feed) == "flex" else "batch"
    return queue_of(feed.removesuffix(FLEX), lane)


FEEDS: tuple[Feed, ...] = (
    *(feed_of(provider, "default") for provider in PROVIDERS),
    *(feed_of(provider, "flex") for provider in FLEX_PROVIDERS),
)
