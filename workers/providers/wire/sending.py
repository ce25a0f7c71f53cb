"""Where one call to a vendor stands: not sent yet, with the vendor, or refused. What a cancelled request costs hangs on it.

The SDKs do not return before the vendor answers, so their transports note both moments here. Who makes a call opens a
`Sending` around it; a transport finds it by the context of the task that it works in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from workers.providers.wire import vendor_errors

PIECE_BYTES = 1 << 18
"""Of a body, which go to the socket in one step."""
REFUSED_FROM = 400
"""HTTP statuses from here on are refusals."""


class Sending:
    """One call. `changed` is called with whether the vendor has it now: it was sent and not refused. `accepted`: the vendor
    has answered with success.
    """

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self._changed = changed
        self._refused = False
        self.accepted = False

    def sent(self) -> None:
        """All of it has left, to its last byte: a vendor that has only a part of it computes nothing."""
        if not self._refused:  # which a vendor may be before it has read all
            self._changed(True)  # noqa: FBT003 - what the callback takes

    def refused(self) -> None:
        """The vendor said no; what it says besides may still be under way."""
        self._refused = True
        self._changed(False)  # noqa: FBT003

    def over(self) -> None:
        """Nobody listens any more. A connection that was opened for this call keeps its context, and so this object; it must
        not keep the request.
        """
        self._changed = _nobody


def _nobody(_: bool) -> None:  # noqa: FBT001 - in the place of a callback
    pass


_UNHEARD = Sending(_nobody)
_under_way: ContextVar[Sending] = ContextVar("sending", default=_UNHEARD)


@contextmanager
def sending(changed: Callable[[bool], None]) -> Iterator[Sending]:
    """Calls to vendors inside tell `changed` where they stand."""
    call = Sending(changed)
    token = _under_way.set(call)
    try:
        yield call
    finally:
        call.over()
        _under_way.reset(token)


def under_way() -> Sending:
    """The call that this task makes."""
    return _under_way.get()


class WholeBody(aiohttp.BytesPayload):
    """A request's body for aiohttp, which notes when all of it is written."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Returns when the last part has been given to the socket, or is the next to be."""
        body = memoryview(self._value)[:content_length]
        for start in range(0, len(body), PIECE_BYTES):
            if start:
                await asyncio.sleep(0)
            await writer.write(body[start : start + PIECE_BYTES])
        under_way().sent()


def aiohttp_trace() -> aiohttp.TraceConfig:
    """What makes a session of aiohttp note refusals, and take a redirect for one instead of following it: an API has none,
    and the call would go to somebody else.
    """
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_redirected)
    trace.on_request_end.append(_answered)
    return trace


async def _redirected(
    _: aiohttp.ClientSession, __: SimpleNamespace, answer: aiohttp.TraceRequestRedirectParams
) -> None:
    under_way().refused()
    answer.response.close()
    raise vendor_errors.redirected()


async def _answered(_: aiohttp.ClientSession, __: SimpleNamespace, answer: aiohttp.TraceRequestEndParams) -> None:
    """Called when the status is there; the body is still to be read."""
    if answer.response.status >= REFUSED_FROM:
        under_way().refused()
    else:
        under_way().accepted = True
