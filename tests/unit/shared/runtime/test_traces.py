"""Traces: off they load nothing; on, spans have the parents that `traceparent` says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.errors import ProviderBusy
from shared.runtime import traces
from shared.runtime.otel import OtlpTracer
from shared.settings import Settings, SettingsError

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
LOADS = """
import sys, api.app, workers.main, deploy.cli.cli
from shared.runtime import traces
from shared.settings import Settings
traces.start(Settings(database_url="", redis_url=""), "web")
print(traces.is_on(), [name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))])
"""


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    """What is exported; all of it is there after `traces.stop()`."""
    exporter = InMemorySpanExporter()
    traces.use(OtlpTracer("web", exporter))
    yield exporter
    traces.stop()


def test_nothing_of_opentelemetry_is_loaded_while_traces_are_off() -> None:
    ran = subprocess.run([sys.executable, "-c", LOADS], check=True, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "False []\n"


def test_without_the_extra_the_start_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shared.runtime.otel", None)
    with pytest.raises(SettingsError, match=r"^TRACES=1 needs the extra `otel` \(pip install 'rebootml\[otel\]'\)"):
        traces.start(Settings(database_url="", redis_url="", traces=True), "web")
    assert not traces.is_on()


@pytest.mark.parametrize(
    ("parent", "goes_on"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{PARENT}", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{TRACE}-{PARENT}-01" + "-x" * 1_000, False),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("", False),
    ],
)
def test_a_trace_goes_on_from_a_valid_parent_and_begins_anew_from_any_other(
    exported: InMemorySpanExporter,
    parent: str,
    goes_on: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    with traces.span("door", "server", parent):
        outer = traces.traceparent()
        traces.past("queue wait", outer, 1_000)
        with traces.span("inner", "client", outer):
            pass
        assert traces.traceparent() == outer
    assert traces.traceparent() == ""
    traces.stop()
    wait, inner, door = exported.get_finished_spans()
    assert (door.context.trace_id == int(TRACE, 16)) is goes_on
    assert door.parent.span_id == int(PARENT, 16) if goes_on and door.parent else door.parent is None
    for child in (wait, inner):
        assert child.parent
        assert (child.parent.span_id, child.context.trace_id) == (door.context.span_id, door.context.trace_id)
    assert wait.start_time == 1_000


def test_what_its_caller_has_not_sampled_is_not_exported(exported: InMemorySpanExporter) -> None:
    with traces.span("door", "server", f"00-{TRACE}-{PARENT}-00") as door:
        assert door.trace_id == TRACE
        assert traces.traceparent().endswith("-00")
    traces.stop()
    assert exported.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("error", "said"),
    [(ProviderBusy("Wait."), "provider_busy"), (RuntimeError("secret"), "RuntimeError"), (KeyError(), None)],
)
def test_an_exception_is_told_by_its_code_and_never_by_its_words(
    exported: InMemorySpanExporter, error: Exception, said: str | None
) -> None:
    with pytest.raises(type(error)), traces.span("door", "server", "", fine=(KeyError,)):
        raise error
    traces.stop()
    (span,) = exported.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes.get("error.type") == said
    assert (span.status.is_ok, span.status.description, span.events) == (said is None, None, ())
