"""The providers and lanes, and the name of the queue of each pair."""

from __future__ import annotations

from typing import NewType

PROVIDERS = ("openai", "bedrock", "deepseek", "gemini")
LANES = ("interactive", "batch")

QueueName = NewType("QueueName", str)
"""`q:<provider>:<lane>`: a sorted set of request ids by the time they are due, in Unix milliseconds."""


def provider_of(name: QueueName) -> str:
    """The provider of a queue."""
    return name.split(":")[1]


def lane_of(name: QueueName) -> str:
    """The lane of a queue."""
    return name.split(":")[2]
