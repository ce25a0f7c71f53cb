"""Where one call to a vendor stands: not sent yet, with the vendor, or refused. What a cancelled request costs hangs on it.

The SDKs do not return before the vendor answers, so their transports note both moments here. Who makes a call opens a
`Sending` around it; a transport finds it by the context of the task that it works in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import aiohttp

REFUSED_FROM = 400
"""HTTP statuses from here on are refusals."""


class Sending:
    """One call. `changed` is called with whether the vendor has it now: it was sent and not refused."""

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self._changed = changed

    def sent(self) -> None:
        """The call is on its way over a connection that stands."""
        self._changed(True)  # noqa: FBT003 - what the callback takes

    def refused(self) -> None:
        """The vendor said no; what it says besides may still be under way."""
        self._changed(False)  # noqa: FBT003


_UNHEARD = Sending(lambda _: None)
_under_way: ContextVar[Sending] = ContextVar("sending", default=_UNHEARD)


@contextmanager
def sending(changed: Callable[[bool], None]) -> Iterator[None]:
    """Calls to vendors inside tell `changed` where they stand."""
    token = _under_way.set(Sending(changed))
    try:
        yield
    finally:
        _under_way.reset(token)


def under_way() -> Sending:
    """The call that this task makes."""
    return _under_way.get()


def aiohttp_trace() -> aiohttp.TraceConfig:
    """What makes a session of aiohttp note both moments."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_headers_sent)
    trace.on_request_end.append(_answered)
    return trace


async def _headers_sent(
    _: aiohttp.ClientSession, __: SimpleNamespace, ___: aiohttp.TraceRequestHeadersSentParams
) -> None:
    under_way().sent()


async def _answered(_: aiohttp.ClientSession, __: SimpleNamespace, answer: aiohttp.TraceRequestEndParams) -> None:
    """Called when the status is there; the body is still to be read."""
    if answer.response.status >= REFUSED_FROM:
        under_way().refused()
