"""Parsers that turn the text of each setting into its value. Each raises `ValueError` with what the setting takes, in
words that follow "it takes".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from shared.addresses import network_list, public_url
from shared.lanes import LANES, QueueName, lanes_of, queue_of
from shared.money import FACTOR_WORDS, is_factor
from shared.vendors import FLEX_PROVIDERS, PROVIDERS

DAY_S = 86_400
EVERY_ORIGIN = "*"
LOG_LEVELS = ("debug", "info", "warning", "error")
PORT_MAX = 65_535
Parser = Callable[[str], object]
_ORIGIN = re.compile(
    r"(?!https://[^,]*:443\Z|http://[^,]*:80\Z)"  # browsers leave out default ports
    r"[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?"
)


def parser_of(name: str, kind: object) -> Parser | None:
    """The parser of the setting with this field name and type; None if any text will do. Numbers have the range of their
    type, as far as its `Meta` gives no other.
    """
    if name in _PARSERS:
        return _PARSERS[name]
    of_type, meta = _without_meta(kind)
    if of_type is bool:
        return _flag
    if of_type not in _RANGES:
        return None
    low, high, what = _BYTES if "_bytes" in name else _RANGES[of_type]
    return _number(
        of_type,
        low if meta.ge is None else meta.ge,
        high if meta.le is None else meta.le,
        meta.description or what,
    )


def _without_meta(kind: Any) -> tuple[Any, msgspec.Meta]:  # noqa: ANN401 - a type
    """The type without `None` and without its `Meta`, and that."""
    if get_origin(kind) in {Union, UnionType}:
        kind = get_args(kind)[0]
    if get_origin(kind) is Annotated:
        return kind.__origin__, kind.__metadata__[0]
    return kind, msgspec.Meta()


def queue_list(text: str) -> tuple[QueueName, ...]:
    """Expand `provider:lane,…` (`*` stands for all) into queue names in priority order, each once. A worker that serves a
    provider's batches serves its flex lane, too, after all queues that are named, unless the list names any flex lane.

    >>> queue_list("openai:interactive,openai:batch")
    ('q:openai:interactive', 'q:openai:batch', 'q:openai:flex')
    """
    names: dict[QueueName, None] = {}
    for part in (p.strip() for p in text.split(",")):
        provider, _, lane = part.partition(":")
        if provider not in {"*", *PROVIDERS} or lane not in {"*", *LANES}:
            raise ValueError(
                f"a comma list of provider:lane, providers {', '.join(PROVIDERS)} or *, lanes {', '.join(LANES)} or *"
            )
        found = [
            queue_of(one_provider, one_lane)
            for one_lane in (LANES if lane == "*" else (lane,))
            for one_provider in (PROVIDERS if provider == "*" else (provider,))
            if one_lane in lanes_of(one_provider)
        ]
        if not found:
            raise ValueError(f"the lane flex with providers {', '.join(FLEX_PROVIDERS)} or * only")
        names |= dict.fromkeys(found)
    if not any(queue_of(provider, "flex") in names for provider in FLEX_PROVIDERS):
        with_batches = [provider for provider in FLEX_PROVIDERS if queue_of(provider, "batch") in names]
        names |= dict.fromkeys(queue_of(provider, "flex") for provider in with_batches)
    return tuple(names)


def origin_list(text: str) -> tuple[str, ...]:
    """Parse a list of exact origins, as browsers send them, without repeats; or `*` alone.

    >>> origin_list("https://app.example.com, http://localhost:5173")
    ('https://app.example.com', 'http://localhost:5173')
    """
    origins = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if origins != (EVERY_ORIGIN,) and not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError(
            "a comma list of origins exactly as browsers send them, such as https://app.example.com or http://localhost:5173:"
            " small letters, no path, no usual port; or * alone for the pages of every site"
        )
    return origins


def _number(kind: Callable[[str], float], low: float, high: float, what: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text) if _is_plain(text) else float("nan")
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"{what} from {low:g} to {high:g}")
        return value

    return parse


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text.lower()

    return parse


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"a URL that begins with {' or '.join(f'{s}://' for s in schemes)}")
        try:
            _ = urlsplit(text).port
        except ValueError:
            raise ValueError("a URL whose port is a number from 0 to 65535") from None
        return text

    return parse


def _flag(text: str) -> bool:
    if text.lower() not in {"0", "1", "true", "false"}:
        raise ValueError("0 or 1")
    return text.lower() in {"1", "true"}


def _factor(text: str) -> Decimal:
    try:
        value = Decimal(text if _is_plain(text) else "nan")
    except InvalidOperation:
        value = Decimal("nan")
    if not is_factor(value):
        raise ValueError(FACTOR_WORDS)
    return value


def _is_plain(text: str) -> bool:
    """True if the number is written with ASCII digits only: Python also accepts `1_0` and the digits of other scripts."""
    return text.isascii() and "_" not in text


def _s3_folder(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("s3://bucket/prefix")
    return text.rstrip("/")


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError("the path of a file that exists")
    return path


_RANGES: dict[object, tuple[float, float, str]] = {
    int: (1, 2**31 - 1, "a whole number"),  # the range of Postgres's integers
    float: (0.0001, DAY_S, "seconds"),
}
_BYTES = (1, 2**40, "a whole number")
_PARSERS: dict[str, Callable[[str], object]] = {
    "database_url": _url("postgresql", "postgres"),
    "redis_url": _url("redis", "rediss", "unix"),
    "catalogue_overlay": _file,
    "database_url_file": Path,
    "redis_url_file": Path,
    "cors_origins": origin_list,
    "public_url": public_url,
    "trusted_proxies": network_list,
    "price_factor": _factor,
    "batch_price_factor": _factor,
    "batch_export_s3": _s3_folder,
    "log_level": _one_of(*LOG_LEVELS),
    "log_format": _one_of("json", "console"),
    "worker_queues": queue_list,
}
