"""The progress of one call to a vendor: not sent yet, received by the vendor, or refused. The cost of a cancelled
request depends on it.

Neither an SDK nor aiohttp returns before the vendor answers, so transports report both moments here. The maker of a call
opens a `Sending` around it; a transport finds that object through the context of its task.
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
"""Bytes of a body that are written to the socket in one step."""
REFUSED_FROM = 400
"""HTTP statuses from this one on are refusals."""


class Sending:
    """The progress of one call. `changed` is called with whether the vendor has the call: it was sent and not refused.
    `accepted` is true once the vendor has answered with success.
    """

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self._changed = changed
        self._refused = False
        self.accepted = False

    def sent(self) -> None:
        """Note that the last byte was written. A vendor that has only a part of a request computes nothing."""
        if not self._refused:  # a vendor may refuse before it has read everything
            self._changed(True)  # noqa: FBT003 - what the callback takes

    def refused(self) -> None:
        """Note that the vendor refused; the rest of its answer may still be on its way."""
        self._refused = True
        self._changed(False)  # noqa: FBT003

    def over(self) -> None:
        """Stop listening. A connection that was opened for this call keeps its context, and so this object, alive; the
        object must not reference the request.
        """
        self._changed = _nobody


def _nobody(_: bool) -> None:  # noqa: FBT001 - in the place of a callback
    pass


_UNHEARD = Sending(_nobody)
_under_way: ContextVar[Sending] = ContextVar("sending", default=_UNHEARD)


@contextmanager
def sending(changed: Callable[[bool], None]) -> Iterator[Sending]:
    """Make calls to vendors within the block report their progress to `changed`."""
    call = Sending(changed)
    token = _under_way.set(call)
    try:
        yield call
    finally:
        call.over()
        _under_way.reset(token)


def under_way() -> Sending:
    """The call that the current task makes."""
    return _under_way.get()


class WholeBody(aiohttp.BytesPayload):
    """A request's body for aiohttp, which reports when all of it is written."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body. Returns when its last part has been given to the socket, or is the next to be given."""
        body = memoryview(self._value)[:content_length]
        for start in range(0, len(body), PIECE_BYTES):
            if start:
                await asyncio.sleep(0)
            await writer.write(body[start : start + PIECE_BYTES])
        under_way().sent()


def aiohttp_trace() -> aiohttp.TraceConfig:
    """Make a session of aiohttp report refusals, and treat a redirect as a refusal instead of following it: vendors'
    APIs have no redirects, and the call would go to somebody else.
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
    """Called when the status has arrived; the body is still to be read."""
    if answer.response.status >= REFUSED_FROM:
        under_way().refused()
    else:
        under_way().accepted = True
