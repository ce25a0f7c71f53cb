"""Fields of a request's body that a vendor's SDK does not see, because they may be large: what was said, tools, schemas.

An SDK validates, copies and converts each value that it is given, in Python and in one turn of the event loop: Google's
takes 15 s for a message of 160,000 parts, AWS's three quarters of one, and every other stream of the worker waits meanwhile.
So the SDK is given what is small. It decides on address, headers and signature, and before its request is signed or sent,
the rest is put into the body, encoded at once.
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
"""Parts of messages that are put into a vendor's words at once, which takes some 15 ms."""
_NONE: Mapping[str, Any] = MappingProxyType({})
_fields: ContextVar[Mapping[str, Any]] = ContextVar("large_fields", default=_NONE)


async def translated(request: ProviderRequest, words_of: Callable[[ProviderRequest], dict[str, Any]]) -> dict[str, Any]:
    """The request in a vendor's words. One with many parts in a thread, which gives others a turn every few milliseconds."""
    parts = sum(len(message.content) for message in request.messages if not isinstance(message.content, str))
    if parts <= PARTS_IN_ONE_TURN:
        return words_of(request)
    return await asyncio.to_thread(words_of, request)


@contextmanager
def put_in(fields: Mapping[str, Any]) -> Iterator[None]:
    """The call that this task makes inside has these fields of its body, too. Bytes in them travel in base 64."""
    own = dict(fields)
    token = _fields.set(own)
    try:
        yield
    finally:
        own.clear()  # a connection that was opened for this call keeps its context
        _fields.reset(token)


def whole_body(body: bytes) -> bytes:
    """The SDK's body with the fields of this task's call. What they have within an object of the SDK's joins it, and a
    stand-in that the SDK asks for gives way.
    """
    fields = _fields.get()
    if not fields:
        return body
    whole: dict[str, Any] = msgspec.json.decode(body)
    for name, value in fields.items():
        small = whole.get(name)
        whole[name] = {**small, **value} if isinstance(small, dict) else value
    return msgspec.json.encode(whole)
