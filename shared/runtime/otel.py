"""Traces with OpenTelemetry's SDK, sent over OTLP/HTTP. This module is loaded only while traces are on.

The SDK's own variables set the address, the sampling and the name of the process: `OTEL_EXPORTER_OTLP_…`,
`OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_…`.
"""

from __future__ import annotations

from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.runtime.traces import Attributes, Kind

SCHEMA = "https://opentelemetry.io/schemas/1.41.0"
"""The version of the semantic conventions that name the spans' attributes. It is the last version with `gen_ai.…`: since
1.42 those are drafted elsewhere under other names (read 2026-11).
"""
_KINDS = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
    "internal": trace.SpanKind.INTERNAL,
}
_parents = TraceContextTextMapPropagator()


class OtlpTracer:
    """Makes the spans of one process, which is `web` or `worker`. In tests, `exporter` replaces the exporter over
    OTLP/HTTP.
    """

    def __init__(self, process: str, exporter: SpanExporter | None = None) -> None:
        named = {"service.name": f"rebootml-{process}", "service.version": version("rebootml")}
        given = OTELResourceDetector().detect().attributes
        self._provider = TracerProvider(resource=Resource.create({**named, **given}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("rebootml", version("rebootml"), schema_url=SCHEMA)

    def begin(self, name: str, kind: Kind, parent: str, attributes: Attributes, began_ns: int | None) -> OtlpSpan:
        """Begin a span under `parent`, a `traceparent` that may come from any client: an invalid one begins a new trace.
        `began_ns` is in Unix nanoseconds; None means now.
        """
        context = _parents.extract({"traceparent": parent}, Context()) if parent else Context()
        return OtlpSpan(self._tracer.start_span(name, context, _KINDS[kind], attributes, start_time=began_ns))

    def close(self) -> None:
        """Export the remaining spans; ends within 30 seconds."""
        self._provider.shutdown()


class OtlpSpan:
    """One span that has not ended. Attributes of a span that is not sampled are dropped at once."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """The `traceparent` that makes another span, also one in another process, a child of this one."""
        told = self._span.get_span_context()
        return f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def note(self, attributes: Attributes) -> None:
        """Add attributes to the span."""
        self._span.set_attributes(attributes)

    def fail(self, code: str) -> None:
        """Mark the span as ended in an error of the type `code`."""
        self._span.set_attribute("error.type", code)
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self) -> None:
        """End the span and hand it to the exporter."""
        self._span.end()
