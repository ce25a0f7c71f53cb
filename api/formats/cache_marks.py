"""Cache marks and cache options in the forms of each API: Anthropic's marks, which clients send to every API, and
OpenAI's marks and options. `shared/catalogue/caching.py` says which models take them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, cast, get_args

import msgspec

from shared.chat import CacheMark, CacheRetention, Caching, Message

CACHE_CONTROL, BREAKPOINT = "cache_control", "prompt_cache_breakpoint"
UNTOLD = frozenset({CACHE_CONTROL, BREAKPOINT, "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"})
"""Fields that do not change what a body asks for."""
LONG = frozenset({"1h", "12h"})
"""Lifetimes of marks (`ttl`) that are an hour or longer."""
TIMES = LONG | {None, "5m", "30m"}
"""All known lifetimes of marks."""
RETENTIONS = frozenset(get_args(CacheRetention))


class CacheControl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A cache mark in Anthropic's form, `{"type": "ephemeral", "ttl": "5m" | "1h"}`. It is left out for models whose
    vendor takes no marks.
    """

    type: str = ""
    """Only `ephemeral`; a mark of another type has no effect."""
    ttl: str | None = None
    """The time for which the vendor keeps the marked part: `5m` (the default) or `1h`."""

    @property
    def is_known(self) -> bool:
        """True if the type is `ephemeral`, the only one that marks anything."""
        return self.type == "ephemeral"


class CacheBreakpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A cache mark in OpenAI's form, `{"mode": "explicit", "ttl": "30m" | "12h"}`. It is left out for models whose
    vendor takes no marks.
    """

    mode: str = ""
    """Only `explicit`; a mark of another mode has no effect."""
    ttl: str | None = None
    """The time for which the vendor keeps the marked part: `30m` (the default) or `12h`. With Claude, `12h` means one
    hour.
    """

    @property
    def is_known(self) -> bool:
        """True if the mode is `explicit`, the only one that marks anything."""
        return self.mode == "explicit"


class PromptCacheOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OpenAI's cache options, for OpenAI's models that have them; they are left out for other models."""

    mode: str | None = None
    """`implicit` (the default) lets the vendor decide what it caches. With `explicit`, GPT-5.6 and later cache only
    what is marked.
    """
    ttl: str | None = None
    """Only `30m`, which changes nothing; any other value is left out and named in `x-ignored`."""


class Markable(Protocol):
    """A block, part, message or tool that may have a cache mark."""

    @property
    def cache_control(self) -> CacheControl | None:
        """Anthropic's mark, or None."""


class MarkField(NamedTuple):
    """A field that holds a mark or the mark's lifetime, and the wish that it expresses; None if every model leaves the
    field out.
    """

    name: str
    wish: Literal["cache", "cache_time"] | None


def mark_of(entry: Markable, place: int) -> CacheMark | None:
    """The mark of the entry at `place`, or None."""
    marks: tuple[CacheControl | CacheBreakpoint | None, ...] = (entry.cache_control, getattr(entry, BREAKPOINT, None))
    known = next((mark for mark in marks if mark and mark.is_known), None)
    return end_mark(place + 1, known) if known else None


def marks_of(entries: Sequence[Markable]) -> tuple[CacheMark, ...]:
    """The marks of the parts of a message, or of tools."""
    return tuple(mark for place, entry in enumerate(entries) if (mark := mark_of(entry, place)))


def marked_at_end(message: Message, mark: CacheControl | None) -> Message:
    """The message with a mark at its end, unless it has one there."""
    if mark is None or not mark.is_known:
        return message
    parts = 1 if isinstance(message.content, str) else len(message.content)
    end = end_mark(parts + len(message.tool_calls), mark)
    others = tuple(one for one in message.cache_marks if one.place != end.place)
    return msgspec.structs.replace(message, cache_marks=(*others, end))


def end_mark(entries: int, mark: CacheControl | CacheBreakpoint) -> CacheMark:
    """A mark on the last of `entries` entries."""
    return CacheMark(entries - 1, mark.ttl in LONG)


def fields_with_marks(path: str, entries: Iterable[Markable]) -> Iterator[MarkField]:
    """The fields below `path` that hold marks, as `messages[].content[].cache_control`."""
    for entry in entries:
        yield from fields_of(f"{path}.{CACHE_CONTROL}", entry.cache_control)
        yield from fields_of(f"{path}.{BREAKPOINT}", getattr(entry, BREAKPOINT, None))


def fields_of(name: str, mark: CacheControl | CacheBreakpoint | None) -> Iterator[MarkField]:
    """The field `name` that holds the mark, and the field of its lifetime if that is not the default."""
    if mark is None:
        return
    yield MarkField(name, "cache" if mark.is_known else None)
    if mark.is_known and (mark.ttl in LONG or mark.ttl not in TIMES):
        yield MarkField(f"{name}.ttl", "cache_time" if mark.ttl in LONG else None)


def caching_of(key: str | None, options: PromptCacheOptions | None, retention: str | None) -> Caching:
    """OpenAI's cache options in the project's own form."""
    return Caching(
        key=key or None,
        explicit=options is not None and options.mode == "explicit",
        retention=cast("CacheRetention", retention) if retention in RETENTIONS else None,
    )


def wishes_for(caching: Caching) -> dict[str, str | None]:
    """The cache options that are wished for, with their fields."""
    return {
        "cache_key": "prompt_cache_key" if caching.key else None,
        "cache_mode": "prompt_cache_options" if caching.explicit else None,
        "cache_retention": "prompt_cache_retention" if caching.retention else None,
    }


def unknown_options(options: PromptCacheOptions | None, retention: str | None) -> list[str]:
    """Fields with values that no vendor knows; they are left out."""
    ttl = options is not None and options.ttl not in {None, "30m"}
    mode = options is not None and options.mode not in {None, "implicit", "explicit"}
    unknown = retention is not None and retention not in RETENTIONS
    names = ["prompt_cache_options.ttl"] * ttl + ["prompt_cache_options.mode"] * mode
    return names + ["prompt_cache_retention"] * unknown
