"""Traces: the spans of a request from the front door to the vendor, linked by `traceparent` (W3C Trace Context).

Traces are off unless `TRACES=1`. While they are off, no library of OpenTelemetry is loaded, and code that would make a span
checks `is_on` and skips it. Spans contain ids, counts, times, models and codes, but never keys, prompts or answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from shared.errors import RebootError
from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from shared.runtime.otel import OtlpSpan, OtlpTracer

Kind = Literal["server", "client", "consumer", "internal"]
Attributes = Mapping[str, str | int | float | bool | Sequence[str]]
NOTHING: Attributes = MappingProxyType({})
_tracers: list[OtlpTracer] = []
"""The tracer of this process; empty while traces are off."""
_own: ContextVar[OtlpSpan | None] = ContextVar("own span", default=None)


def start(settings: Settings, process: str) -> None:
    """Switch traces on if the settings say so. Raises `SettingsError` if the extra `otel` is not installed."""
    if not settings.traces:
        return
    try:
        otel = import_module("shared.runtime.otel")
    except ImportError as error:
        raise SettingsError(f"TRACES=1 needs the extra `otel` (pip install 'rebootml[otel]'): {error}") from None
    use(otel.OtlpTracer(process))


def use(tracer: OtlpTracer) -> None:
    """Make spans with `tracer` from now on."""
    stop()
    _tracers.append(tracer)


def stop() -> None:
    """Export the remaining spans, and make no more."""
    while _tracers:
        _tracers.pop().close()


def is_on() -> bool:
    """True if spans are made in this process."""
    return bool(_tracers)


def traceparent() -> str:
    """The `traceparent` of the span around the caller; empty if there is none."""
    own = _own.get()
    return own.traceparent if own else ""


def note(attributes: Attributes) -> None:
    """Add attributes to the span around the caller, if there is one."""
    if own := _own.get():
        own.note(attributes)


def fail(code: str) -> None:
    """Mark the span around the caller, if there is one, as ended in an error with this code."""
    if own := _own.get():
        own.fail(code)


@contextmanager
def span(
    name: str, kind: Kind, parent: str, attributes: Attributes = NOTHING, *, fine: tuple[type[BaseException], ...] = ()
) -> Iterator[OtlpSpan]:
    """Make a span that lasts as long as the block and is the parent of all spans made in it. An exception that leaves the
    block makes the span an error, unless its type is in `fine`. Call this only while traces are on.
    """
    one = _tracers[0].begin(name, kind, parent, attributes, None)
    token = _own.set(one)
    try:
        yield one
    except fine:
        raise
    except BaseException as error:
        one.fail(error.code if isinstance(error, RebootError) else type(error).__name__)
        raise
    finally:
        _own.reset(token)
        one.end()


def past(name: str, parent: str, began_ns: int, attributes: Attributes = NOTHING) -> None:
    """Make a span that ends now and began at `began_ns` (Unix nanoseconds). Call this only while traces are on."""
    _tracers[0].begin(name, "internal", parent, attributes, began_ns).end()
