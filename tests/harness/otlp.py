"""A receiver of traces over OTLP/HTTP: keeps every span that is sent to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Received(msgspec.Struct, frozen=True):
    """A span. Ids are hexadecimal; `kind` is OTLP's number."""

    service: str
    schema: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    took_ns: int
    is_error: bool
    attributes: dict[str, Any]


class OtlpReceiver:
    """`spans` in the order of their arrival, and all bodies as they came."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.bodies: list[bytes] = []
        self.port = 0

    @property
    def variables(self) -> dict[str, str]:
        """What makes a process send its spans here, soon."""
        endpoint = f"http://127.0.0.1:{self.port}"
        return {"TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def of(self, trace_id: str, name: str = "") -> list[Received]:
        """Spans of a trace whose name begins so."""
        return [span for span in self.spans if span.trace_id == trace_id and span.name.startswith(name)]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _plain(group.resource.attributes)["service.name"]
            for scope in group.scope_spans:
                self.spans += [_received(service, scope.schema_url, span) for span in scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


@asynccontextmanager
async def receiving_traces() -> AsyncIterator[OtlpReceiver]:
    """Listens for as long as the block lasts."""
    receiver = OtlpReceiver()
    app = web.Application()
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.port = runner.addresses[0][1]
        yield receiver
    finally:
        await runner.cleanup()


def _received(service: str, schema: str, span: Any) -> Received:
    return Received(
        service=service,
        schema=schema,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_plain(span.attributes),
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)
