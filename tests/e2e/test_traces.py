"""A request is one trace, from its caller's span to the vendor, also over a retry and over the death of a worker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deploy.simulator.answer import answer
from deploy.simulator.script import Script, from_message
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster
from tests.harness.otlp import OtlpReceiver, Received, receiving_traces
from tests.harness.support import eventually, eventually_true

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e47", "00f067aa0ba902b7"
SERVER, CLIENT, CONSUMER, INTERNAL = 2, 3, 5, 1
CANARY = "canary-prompt-77aa"
DOOR, WORKER = "web-9", "worker-9"
MODEL, UPSTREAM = "google-gemini-2.5-flash-lite", "gemini-2.5-flash-lite"


@pytest.fixture(scope="module")
async def traced(cluster: Cluster) -> AsyncIterator[OtlpReceiver]:
    """A front door and a worker more, which are traced; the worker is the only one that has its vendor's key."""
    async with receiving_traces() as receiver:
        cluster.start(DOOR, shared=False, **receiver.variables)
        cluster.start(WORKER, shared=False, **_worker(cluster, receiver))
        await cluster.until_log(WORKER, "worker started")
        await cluster.ready()
        yield receiver
        for name in (DOOR, WORKER):
            await cluster.drain(name)


def _worker(cluster: Cluster, receiver: OtlpReceiver) -> dict[str, str]:
    url = f"http://127.0.0.1:{cluster.simulator.port}/gemini"
    vendor = {"GEMINI_API_KEY": "simulated", "GOOGLE_GEMINI_BASE_URL": url}
    return receiver.variables | vendor | {"WORKER_QUEUES": "gemini:interactive"}


async def test_a_request_is_one_trace_of_four_spans(
    caller: Caller, cluster: Cluster, traced: OtlpReceiver, logs: Path
) -> None:
    async def is_served() -> bool:
        return (await caller.at(cluster.url(DOOR)).chat(told(tokens=1), MODEL)).status == 200

    await eventually_true(is_served, "the front door has heard of the worker")
    for number, stream in enumerate((False, True)):
        trace = f"{TRACE}{number:02x}"
        text = f"{CANARY} {told(tokens=5)}"
        headers = {"traceparent": f"00-{trace}-{SPAN}-01"}
        reply = await caller.at(cluster.url(DOOR)).chat(text, MODEL, headers, stream=stream, max_tokens=100)
        request_id = reply.headers["x-request-id"]
        door, wait, run, call = await _spans(traced, trace)
        assert [door.parent_id, wait.parent_id, run.parent_id] == [SPAN, door.span_id, door.span_id]
        assert call.parent_id == run.span_id
        assert [door.kind, wait.kind, run.kind, call.kind] == [SERVER, INTERNAL, CONSUMER, CLIENT]
        assert [one.service for one in (door, wait, run, call)] == ["rebootml-web", *["rebootml-worker"] * 3]
        assert {one.schema for one in (door, wait, run, call)} == {"https://opentelemetry.io/schemas/1.41.0"}
        assert door.attributes == {
            "http.request.method": "POST",
            "http.route": "/api/endpoint",
            "http.response.status_code": 200,
            "rebootml.request_id": request_id,
        }
        told_of_run = {
            "rebootml.request_id": request_id,
            "rebootml.queue": "gemini:interactive",
            "rebootml.epoch": 1,
            "gen_ai.request.model": MODEL,
        }
        assert (wait.attributes, run.attributes) == (told_of_run, told_of_run | {"rebootml.outcome": "stop"})
        assert call.attributes.pop("gen_ai.response.time_to_first_chunk") > 0
        assert call.attributes.pop("gen_ai.usage.input_tokens") > 0
        assert call.attributes == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "gcp.gemini",
            "gen_ai.request.model": UPSTREAM,
            "gen_ai.request.max_tokens": 100,
            "gen_ai.request.stream": stream,
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 0,
            "gen_ai.usage.cache_creation.input_tokens": 0,
            "gen_ai.usage.reasoning.output_tokens": 0,
            "rebootml.upstream": "gemini",
            "rebootml.api": "gemini",
            "rebootml.attempt": 1,
        }
        for process in (DOOR, WORKER):
            lines = [line for line in _lines(logs / f"{process}.log") if line.get("request_id") == request_id]
            assert [line["trace_id"] for line in lines if line["event"] == "request finished"] == (
                [trace] if process == WORKER else []
            )
            assert {line["trace_id"] for line in lines} <= {trace}
        for secret in (
            CANARY,
            caller.key.rpartition("_")[2],
            "".join(answer(UPSTREAM, text, from_message(text, Script()))),
            caller.account_id,
        ):
            assert not [body for body in traced.bodies if secret.encode() in body]


async def test_a_refusal_is_logged_with_its_trace(
    caller: Caller, cluster: Cluster, traced: OtlpReceiver, logs: Path
) -> None:
    trace = f"{TRACE}10"
    door = caller.at(cluster.url(DOOR))
    reply = await door.chat("x", model="nobody-knows-it", headers={"traceparent": f"00-{trace}-{SPAN}-01"})
    (span,) = await eventually(lambda: traced.of(trace), "the span is exported")
    assert (span.attributes["http.response.status_code"], span.is_error) == (reply.status, False)
    refused = [line for line in _lines(logs / f"{DOOR}.log") if line.get("trace_id") == trace]
    assert [line["event"] for line in refused] == ["request refused"]


async def test_a_retry_and_the_death_of_a_worker_stay_in_the_trace(
    caller: Caller, cluster: Cluster, traced: OtlpReceiver
) -> None:
    trace, key = f"{TRACE}20", "traced-until-death"
    headers = {"traceparent": f"00-{trace}-{SPAN}-01", "Prefer": "respond-async"}
    door = caller.at(cluster.url(DOOR))
    await door.chat(told(key=key, status=503, times=1, hold=1), MODEL, headers)
    await cluster.simulator.call_begins(key, 2)
    (failed,) = await eventually(lambda: traced.of(trace, "chat"), "the failed call is exported")
    assert (failed.attributes["rebootml.attempt"], failed.attributes["error.type"]) == (1, "provider_busy")
    assert failed.is_error
    await cluster.kill(WORKER)
    cluster.start(WORKER, shared=False, **_worker(cluster, traced))
    await cluster.simulator.call_begins(key, 3)
    await caller.release(key)
    (run,) = await eventually(lambda: traced.of(trace, "run request"), "the second run has ended")
    (root,) = traced.of(trace, "POST")
    assert (run.parent_id, run.attributes["rebootml.epoch"], run.attributes["rebootml.outcome"]) == (
        root.span_id,
        2,
        "stop",
    )
    waits = traced.of(trace, "queue wait")
    assert {wait.parent_id for wait in waits} == {root.span_id}
    assert max(wait.attributes["rebootml.epoch"] for wait in waits) == 2
    (call,) = [span for span in traced.of(trace, "chat") if span.parent_id == run.span_id]
    assert not call.is_error


async def _spans(traced: OtlpReceiver, trace: str) -> list[Received]:
    """The four, from the door to the vendor."""
    names = ("POST /api/endpoint", "queue wait", "run request", f"chat {UPSTREAM}")
    found = await eventually(lambda: traced.of(trace) if len(traced.of(trace)) >= len(names) else [], "four spans")
    assert sorted(span.name for span in found) == sorted(names)
    return [next(span for span in found if span.name == name) for name in names]


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_bytes().splitlines() if line.startswith(b"{")]
