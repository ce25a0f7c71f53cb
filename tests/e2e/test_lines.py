"""Results are read line by line, by readers that split as Python's `str.splitlines` does, such as the guide's loop."""

from __future__ import annotations

import json
from typing import Any

import openai

from tests.e2e.openai_client import client_of
from tests.e2e.test_batches import line, results, sent, until
from tests.e2e.test_openai_batches import CHAT, jsonl, until_ended
from tests.e2e.test_openai_batches import line as openai_line
from tests.harness.caller import Caller, expected, told

SPLITS = "a\nb\x0bc\x0cd\re\x1cf\x1dg\x1eh\x85i\u2028j\u2029k"
AWKWARD = told(tokens=60, unicode=1, key="lines")
IDS = ["one\u2028two", "three\x85four", "bad\u2029line"]


async def lines_read(client: openai.AsyncOpenAI, file_id: str | None) -> list[Any]:
    assert file_id is not None
    return [json.loads(one) async for one in (await client.files.content(file_id)).response.aiter_lines()]


async def test_results_have_a_line_for_each_line_whatever_is_said(caller: Caller) -> None:
    batch = await sent(
        caller, [line(IDS[0], AWKWARD), line(IDS[1], f"{told()} {SPLITS}"), line(IDS[2], "", stop=SPLITS)]
    )
    await until(caller, batch["id"])
    reply = await caller.request("GET", f"/api/batches/{batch['id']}/results")
    answers = [json.loads(one) for one in reply.body.decode().splitlines()]
    assert [one["custom_id"] for one in answers] == IDS
    assert answers[0]["result"]["response"] == expected(AWKWARD)
    assert {"\u2028", "\x85", "\n"} <= set(expected(AWKWARD))
    assert answers[1]["result"]["request"][0]["content"].endswith(SPLITS)
    assert await results(caller, batch["id"], after=IDS[0]) == answers[1:]


async def test_the_guides_loop_reads_the_output_and_the_error_file_of_openais_batches(caller: Caller) -> None:
    async with client_of(caller) as counted:
        client = counted.client
        lines = [openai_line(IDS[0], AWKWARD), openai_line(IDS[1], told()), openai_line(IDS[2], "", n=2)]
        file = await client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
        made = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        await until_ended(caller, made.id)
        batch = await client.batches.retrieve(made.id)
        good = await lines_read(client, batch.output_file_id)
        assert [one["custom_id"] for one in good] == IDS[:2]
        assert good[0]["response"]["body"]["choices"][0]["message"]["content"] == expected(AWKWARD)
        assert [one["custom_id"] for one in await lines_read(client, batch.error_file_id)] == IDS[2:]


async def test_events_of_the_native_stream_stay_in_their_lines(caller: Caller) -> None:
    reply = await caller.chat(AWKWARD, stream=True, headers={"Accept": "text/event-stream"})
    text = reply.body.decode()
    assert text.splitlines() == text.split("\n")[:-1]
    data = [json.loads(one.removeprefix("data: ")) for one in text.splitlines() if one.startswith("data: ")]
    assert "".join(one.get("text", "") for one in data) == expected(AWKWARD)
