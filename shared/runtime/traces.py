"""Traces: spans of a request from the front door to the vendor, linked by `traceparent` (W3C Trace Context).

Off unless `TRACES=1`: then no library of OpenTelemetry is loaded, and each place that makes a span asks `is_on` and goes on.
Spans have ids, counts, times, models and codes. They never have keys, prompts or answers.
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
"""The process's one, or none."""
_own: ContextVar[OtlpSpan | None] = ContextVar("own span", default=None)


def start(settings: Settings, process: str) -> None:
    """Switch traces on where the settings say so. Raises `SettingsError` where the extra is not installed."""
    if not settings.traces:
        return
    try:
        otel = import_module("shared.runtime.otel")
    except ImportError as error:
        raise SettingsError(f"TRACES=1 needs the extra `otel` (pip install 'rebootml[otel]'): {error}") from None
    use(otel.OtlpTracer(process))


def use(tracer: OtlpTracer) -> None:
    """Make spans by `tracer` from now on."""
    stop()
    _tracers.append(tracer)


def stop() -> None:
    """Export what is left, and make no more spans."""
    while _tracers:
        _tracers.pop().close()


def is_on() -> bool:
    """Whether spans are made at all."""
    return bool(_tracers)


def traceparent() -> str:
    """Of the span around the caller; empty when there is none."""
    own = _own.get()
    return own.traceparent if own else ""


def note(attributes: Attributes) -> None:
    """Add to the span around the caller, if there is one."""
    if own := _own.get():
        own.note(attributes)


def fail(code: str) -> None:
    """The span around the caller, if there is one, ends in an error."""
    if own := _own.get():
        own.fail(code)


@contextmanager
def span(
    name: str, kind: Kind, parent: str, attributes: Attributes = NOTHING, *, fine: tuple[type[BaseException], ...] = ()
) -> Iterator[OtlpSpan]:
    """A span for as long as the block runs, and the one around whatever it calls. An exception that leaves the block is an
    error of the span, unless it is one of `fine`. Only where traces are on.
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
    """A span that ends now and began at `began_ns`, in Unix nanoseconds. Only where traces are on."""
    _tracers[0].begin(name, "internal", parent, attributes, began_ns).end()
