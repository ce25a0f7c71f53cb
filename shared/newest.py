"""Dictionaries that keep only what was stored last."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def keep_newest(known: dict[str, Value], key: str, value: Value, most: int) -> None:
    """Store the value as the newest; if there are more than `most`, the oldest are forgotten."""
    known.pop(key, None)
    known[key] = value
    while len(known) > most:
        del known[next(iter(known))]
