"""Whatever is given out in lines stays one line each, for readers that split as Python's `str.splitlines` does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from api.formats.native.streams import ServerSentEvents
from api.formats.openai.batches import output_line
from shared.batches.batches import Ask, Batch, pack_ask
from shared.batches.result_lines import result_line
from shared.batches.results import Result
from shared.chat import NO_TOOLS, Message, Sampling, ToolCall
from shared.errors import ProviderError
from shared.job import Chunk, Done, Failed, KeptAnswer, pack
from shared.money import Usage
from tests.harness.rendering import rendered
from tests.unit.shared.test_json_lines import SPLITS

AWKWARD = "a" + "b".join(SPLITS) + "c"
PRETTY = '{\n  "city": "Ro\u2028ma",\r\n  "days": 1\n}'
NOW = datetime.now(UTC)


def a_batch(endpoint: str) -> Batch:
    names = dict.fromkeys(Batch.__struct_fields__)
    counts = dict.fromkeys(("total", "completed", "failed", "cancelled", "expired", "charged_nano"), 0)
    known = {"id": "batch_1", "endpoint": endpoint, "state": "completed", "created_at": NOW}
    return Batch(**(names | counts | known))  # type: ignore[arg-type]


def a_result(**changes: Any) -> Result:
    done = Done("tool_calls", Usage(3, 5), 7, AWKWARD, (ToolCall("call_1", "weather", PRETTY),))
    ask = Ask("some-model", [Message("user", AWKWARD)], Sampling(), NO_TOOLS, None)
    fields = {
        "number": 1,
        "custom_id": AWKWARD,
        "request_id": "req_01k00000000000000000000000",
        "asked": pack_ask(ask),
        "answer": pack(KeptAnswer(done, None)),
        "error_code": None,
        "error_message": None,
    }
    return Result(**(fields | changes))  # type: ignore[arg-type]


def only_line(data: bytes) -> Any:
    (line,) = data.decode().splitlines()
    assert data.endswith(b"\n")
    return json.loads(line)


def test_a_native_result_is_one_line() -> None:
    said = only_line(result_line(a_result()))
    assert said["custom_id"] == AWKWARD
    assert said["result"]["response"] == AWKWARD
    assert said["result"]["request"] == [{"role": "user", "content": AWKWARD}]
    assert said["result"]["tool_calls"][0]["arguments"] == PRETTY


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/messages"])
def test_a_line_of_an_output_file_is_one_line(endpoint: str) -> None:
    said = only_line(output_line(a_batch(endpoint), a_result()))
    assert said["custom_id"] == AWKWARD
    body = said["response"]["body"]
    if endpoint == "/v1/messages":
        assert [body["content"][0]["text"], body["content"][1]["input"]] == [AWKWARD, json.loads(PRETTY)]
    else:
        assert body["choices"][0]["message"]["content"] == AWKWARD


@pytest.mark.parametrize("endpoint", ["/api/endpoint", "/v1/chat/completions", "/v1/messages"])
def test_a_line_of_an_error_file_is_one_line(endpoint: str) -> None:
    bad = a_result(answer=None, error_code="invalid_request", error_message=AWKWARD)
    write = result_line if endpoint == "/api/endpoint" else lambda one: output_line(a_batch(endpoint), one)
    said = only_line(write(bad))
    assert said["custom_id"] == AWKWARD
    assert said["error"]["message"] == AWKWARD


def test_an_event_of_a_native_stream_is_as_many_lines_as_it_should_be() -> None:
    form = ServerSentEvents("req_1")
    for event in (Chunk(AWKWARD), Failed(ProviderError(AWKWARD).body())):
        number, kind, data, blank = rendered(form, 4, event).decode().splitlines()
        assert (number, kind.partition(":")[0], blank) == ("id: 4", "event", "")
        said = json.loads(data.removeprefix("data: "))
        assert AWKWARD in (said.get("text") or said["error"]["message"])
