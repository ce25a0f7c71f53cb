"""Keeps large fields of a request's body (messages, tools, schemas) away from a vendor's SDK.

An SDK validates, copies and converts each value in Python, in one turn of the event loop: Google's takes 15 s for a
message of 166,000 parts, AWS's 0.75 s, and every other stream of the worker waits. So the SDK is given only small
fields. It decides address, headers and signature. Before its request is signed or sent, the large fields are put into
the body, already encoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import msgspec

from workers.providers.protocol import ProviderRequest

PARTS_IN_ONE_TURN = 10_000
"""Parts of messages that are converted in one turn, which takes about 15 ms."""
_NONE: Mapping[str, Any] = MappingProxyType({})
_fields: ContextVar[Mapping[str, Any]] = ContextVar("large_fields", default=_NONE)


async def translated(request: ProviderRequest, words_of: Callable[[ProviderRequest], dict[str, Any]]) -> dict[str, Any]:
    """The request in a vendor's form. A request with many parts is converted in a thread, so that other tasks get a turn
    every few milliseconds.
    """
    parts = sum(len(message.content) for message in request.messages if not isinstance(message.content, str))
    if parts <= PARTS_IN_ONE_TURN:
        return words_of(request)
    return await asyncio.to_thread(words_of, request)


@contextmanager
def put_in(fields: Mapping[str, Any]) -> Iterator[None]:
    """Put these fields into the body of the call that the current task makes within the block. Bytes in them are sent in
    base 64.
    """
    own = dict(fields)
    token = _fields.set(own)
    try:
        yield
    finally:
        own.clear()  # a connection that was opened during this call keeps its context alive
        _fields.reset(token)


def whole_body(body: bytes) -> bytes:
    """The SDK's body with the fields of the current task's call. If both have the same object, the two are merged; a
    placeholder that the SDK required is replaced.
    """
    fields = _fields.get()
    if not fields:
        return body
    whole: dict[str, Any] = msgspec.json.decode(body)
    for name, value in fields.items():
        small = whole.get(name)
        whole[name] = {**small, **value} if isinstance(small, dict) else value
    return msgspec.json.encode(whole)
