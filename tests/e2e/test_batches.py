"""Batches through the running service: every line once, in order, charged once."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from shared.ids import new_id
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, THROTTLED_MODEL, Caller, Reply, cost_nano, expected, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

NDJSON = {"Content-Type": "application/x-ndjson"}
ENDED = {"completed", "failed", "expired", "cancelled"}


def line(custom_id: str, text: str, model: str = MODEL, **options: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "model": model, "messages": [{"role": "user", "content": text}], "options": options}


async def send(caller: Caller, lines: Sequence[dict[str, Any] | str]) -> Reply:
    body = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    return await caller.request("POST", "/api/batches", data=body.encode(), headers=NDJSON)


async def sent(caller: Caller, lines: Sequence[dict[str, Any] | str]) -> Any:
    reply = await send(caller, lines)
    assert reply.status == 201, reply.body
    return reply.json["result"]


async def view(caller: Caller, batch_id: str) -> Any:
    return (await caller.request("GET", f"/api/batches/{batch_id}")).json["result"]


async def until(caller: Caller, batch_id: str, states: set[str] = ENDED) -> Any:
    async def ask() -> Any:
        batch = await view(caller, batch_id)
        return batch if batch["state"] in states else None

    return await eventually_true(ask, f"the batch is {states}", 60)


async def results(caller: Caller, batch_id: str, after: str | None = None) -> list[Any]:
    params = {"after": after} if after else {}
    reply = await caller.request("GET", f"/api/batches/{batch_id}/results", params=params)
    assert reply.status == 200
    assert reply.complete
    return [json.loads(one) for one in reply.body.splitlines()]


async def test_every_line_is_answered_once_in_order_and_charged_once(caller: Caller, books: asyncpg.Pool) -> None:
    before = await caller.settled(books)
    texts = [told(tokens=2 + number % 3, key=f"line-{number}") for number in range(120)]
    batch = await sent(caller, [line(f"id-{number}", text) for number, text in enumerate(texts)])
    assert (batch["state"], batch["counts"]["total"]) == ("in_progress", 120)
    ended = await until(caller, batch["id"])
    assert ended["state"] == "completed"
    assert ended["counts"] == {"total": 120, "completed": 120, "failed": 0, "cancelled": 0, "expired": 0}
    answers = await results(caller, batch["id"])
    assert [one["custom_id"] for one in answers] == [f"id-{number}" for number in range(120)]
    assert [one["result"]["response"] for one in answers] == [expected(text) for text in texts]
    assert {one["status"] for one in answers} == {1}
    assert answers[7]["result"]["request"] == [{"role": "user", "content": texts[7]}]
    costs = sum(cost_nano(text, 2 + number % 3) for number, text in enumerate(texts))
    assert before - await caller.settled(books) == costs == round(float(ended["charged_usd"]) * 1e9)
    assert await results(caller, batch["id"], after="id-100") == answers[101:]


async def test_bad_lines_do_not_sink_good_ones_and_are_named_by_their_number(caller: Caller) -> None:
    lines: list[dict[str, Any] | str] = [
        line("good", told()),
        "{",
        line("good", told()),
        line("no model", told(), model="gpt-99"),
        line("an option", told(), temperature=3),
        {"custom_id": "no messages", "model": MODEL},
        "",
        line("fine", told()),
        line("streamed", told(), stream=True),
        line("vendor away", told(), model="amazon-nova-lite"),
    ]
    batch = await sent(caller, lines)
    assert [error["line"] for error in batch["errors"]] == [2, 3, 4, 5, 6, 9, 10]
    codes = [error["code"] for error in batch["errors"]]
    assert codes == [*["invalid_request"] * 2, "model_not_found", *["invalid_request"] * 3, "provider_not_configured"]
    ended = await until(caller, batch["id"])
    assert (ended["counts"]["completed"], ended["counts"]["failed"], ended["counts"]["total"]) == (2, 7, 9)
    answers = await results(caller, batch["id"])
    assert [one["status"] for one in answers] == [1, 0, 0, 0, 0, 0, 1, 0, 0]
    ids = ["good", None, "good", "no model", "an option", "no messages", "fine", "streamed", "vendor away"]
    assert [one["custom_id"] for one in answers] == ids
    assert [one["error"]["message"].split(":")[0] for one in answers if not one["status"]][:2] == ["Line 2", "Line 3"]


@pytest.mark.parametrize(
    "bad",
    [
        r'{"custom_id":"a\u0000","model":"openai-gpt-4o-mini","messages":[{"role":"user","content":"x"}]}',
        r'{"custom_id":"b","model":"openai-gpt-4o-mini","messages":[{"role":"user","content":"x"}],"\u0000x":1}',
        r'{"custom_id":"b","model":"openai-gpt-4o-mini\u0000","messages":[{"role":"user","content":"x"}]}',
        '{"custom_id":"' + "x" * 300 + '","model":"openai-gpt-4o-mini","messages":[]}',
        '{"custom_id":"c","model":"openai-gpt-4o-mini","messages":' + "[" * 600 + "]" * 600 + "}",
        '{"custom_id":"c","model":"openai-gpt-4o-mini","messages":[' + "[]," * 300_000 + "0]}",
    ],
    ids=["NUL in id", "NUL in field", "NUL in model", "long id", "deep", "wide"],
)
async def test_what_cannot_be_stored_of_a_line_sinks_no_other(caller: Caller, bad: str) -> None:
    batch = await sent(caller, [bad, line("good", told())])
    assert [error["line"] for error in batch["errors"]] == [1]
    assert (await until(caller, batch["id"]))["counts"]["completed"] == 1


async def test_batches_of_one_account_may_be_made_at_once(caller: Caller) -> None:
    body = "\n".join(json.dumps(line(f"id-{number}", told(tokens=1))) for number in range(50)).encode()
    replies = await asyncio.gather(
        *(caller.request("POST", "/api/batches", data=body, headers=NDJSON) for _ in range(32))
    )
    assert {reply.status for reply in replies} == {201}


async def test_a_compressed_upload_is_refused(caller: Caller) -> None:
    headers = NDJSON | {"Content-Encoding": "gzip"}
    reply = await caller.request("POST", "/api/batches", data=gzip.compress(b"{}\n" * 1_000), headers=headers)
    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


async def test_a_vendor_that_throttles_for_long_is_waited_for(caller: Caller) -> None:
    text = told(status=429, retry_after=1, times=3, key="throttled-for-long")
    batch = await sent(caller, [line("a", text, THROTTLED_MODEL)])
    assert (await until(caller, batch["id"]))["counts"]["completed"] == 1


async def test_a_batch_without_a_good_line_has_failed(caller: Caller) -> None:
    batch = await sent(caller, ["{", "[]"])
    assert (batch["state"], batch["counts"]["failed"]) == ("failed", 2)
    assert len(await results(caller, batch["id"])) == 2


@pytest.mark.parametrize("body", [b"", b"\n\n \n"])
async def test_a_file_without_lines_is_refused(caller: Caller, body: bytes) -> None:
    reply = await caller.request("POST", "/api/batches", data=body, headers=NDJSON)
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")


async def test_without_credit_an_upload_is_refused(new_caller: NewCaller) -> None:
    poor = await new_caller(credit=0)
    reply = await send(poor, [line("a", told())])
    assert (reply.status, reply.error["code"]) == (402, "insufficient_credit")


async def test_a_vendors_failure_is_the_lines_own_error(caller: Caller) -> None:
    batch = await sent(caller, [line("bad", told(status=400)), line("good", told())])
    await until(caller, batch["id"])
    bad, good = await results(caller, batch["id"])
    assert (bad["status"], bad["error"]["code"], good["status"]) == (0, "provider_rejected", 1)


async def test_results_can_be_read_while_it_runs(caller: Caller) -> None:
    lines = [line("a", told()), line("b", told(hold=0, key="batch-b")), line("c", told())]
    batch = await sent(caller, lines)

    async def two() -> Any:
        found = await results(caller, batch["id"])
        return found if len(found) == 2 else None

    assert [one["custom_id"] for one in await eventually_true(two, "two lines have ended")] == ["a", "c"]
    await caller.release("batch-b")
    await until(caller, batch["id"])
    assert [one["custom_id"] for one in await results(caller, batch["id"])] == ["a", "b", "c"]


async def a_batch_of_now_has_ended(caller: Caller) -> None:
    """Lines were fed meanwhile: whatever would still have started of an earlier batch has done so."""
    batch = await sent(caller, [line(str(number), told(), "openai-gpt-4o") for number in range(20)])
    assert (await until(caller, batch["id"]))["state"] == "completed"


def held_lines(key: str, model: str) -> list[dict[str, Any]]:
    """Lines whose calls are held. No other test has lines of the model: the more lines of a model were answered, the more
    run at once, and these would take every slot.
    """
    return [line(f"id-{number}", told(tokens=3, hold=1, key=key), model, max_tokens=16) for number in range(1_500)]


async def test_cancelling_stops_what_has_not_started_and_lets_the_rest_end(
    caller: Caller, cluster: Cluster, books: asyncpg.Pool
) -> None:
    lines = held_lines("batch-cancel", "openai-gpt-6-luna")
    batch = await sent(caller, lines)
    await cluster.simulator.call_begins("batch-cancel")
    cancelled = (await caller.request("DELETE", f"/api/batches/{batch['id']}")).json["result"]
    assert cancelled["state"] == "cancelling"
    await a_batch_of_now_has_ended(caller)
    await caller.release("batch-cancel")
    ended = await until(caller, batch["id"])
    counts = ended["counts"]
    assert ended["state"] == "cancelled"
    assert counts["completed"] + counts["cancelled"] == 1_500
    assert 0 < counts["completed"] < 1_500
    begun = [call for call in await cluster.simulator.calls("batch-cancel") if call.key == "batch-cancel"]
    assert len(begun) == counts["completed"]
    answers = await results(caller, batch["id"])
    assert [one["custom_id"] for one in answers] == [f"id-{number}" for number in range(1_500)]
    assert {one["error"]["code"] for one in answers if not one["status"]} == {"cancelled"}
    await caller.settled(books)
    again = (await caller.request("DELETE", f"/api/batches/{batch['id']}")).json["result"]
    assert again["state"] == "cancelled"


async def test_a_batch_whose_time_is_over_ends_with_every_line(
    caller: Caller, cluster: Cluster, books: asyncpg.Pool
) -> None:
    lines = held_lines("batch-expire", "openai-gpt-5.6-luna")
    batch = await sent(caller, lines)
    await cluster.simulator.call_begins("batch-expire")
    await books.execute("UPDATE batches SET expires_at = now() WHERE id = $1", batch["id"])
    await until(caller, batch["id"], {"finalizing"})
    await a_batch_of_now_has_ended(caller)
    await caller.release("batch-expire")
    ended = await until(caller, batch["id"])
    counts = ended["counts"]
    assert (ended["state"], counts["completed"] + counts["expired"]) == ("expired", 1_500)
    assert len(await cluster.simulator.calls("batch-expire")) == counts["completed"] > 0
    answers = await results(caller, batch["id"])
    assert {one["error"]["code"] for one in answers if not one["status"]} == {"expired"}
    assert len(answers) == 1_500
    await caller.settled(books)


async def test_without_credit_a_batch_pauses_and_goes_on_when_there_is_some(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    text = told(tokens=5)
    one = cost_nano(text, 5)
    caller = await new_caller(credit=40 * one)
    batch = await sent(caller, [line(f"id-{number}", text, max_tokens=10) for number in range(60)])
    paused = await until(caller, batch["id"], {"paused"})
    assert paused["paused_for"] == "insufficient_credit"
    assert float(paused["needed_usd"]) > 0
    done = paused["counts"]["completed"]
    assert 0 < done < 60
    await books.fetchval("SELECT credit($1, $2, NULL, NULL)", caller.account_id, 100 * one)
    ended = await until(caller, batch["id"])
    assert (ended["state"], ended["counts"]["completed"], ended["paused_for"]) == ("completed", 60, None)
    assert await caller.settled(books) == 140 * one - 60 * one


async def test_batches_are_listed_newest_first(caller: Caller) -> None:
    made = [(await sent(caller, [line("a", told())]))["id"] for _ in range(3)]
    first = (await caller.request("GET", "/api/batches", params={"limit": "2"})).json["result"]
    rest = (await caller.request("GET", "/api/batches", params={"cursor": first["next_cursor"]})).json["result"]
    assert [one["id"] for one in first["batches"] + rest["batches"]] == made[::-1]


@pytest.mark.parametrize("route", ["GET /api/batches/{}", "DELETE /api/batches/{}", "GET /api/batches/{}/results"])
async def test_another_accounts_batch_is_not_there(caller: Caller, new_caller: NewCaller, route: str) -> None:
    batch = await sent(caller, [line("a", told())])
    stranger = await new_caller()
    method, path = route.split()
    for wrong in (batch["id"], new_id("batch"), "batch_x"):
        reply = await stranger.request(method, path.format(wrong))
        assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_the_same_idempotency_key_and_lines_make_one_batch(caller: Caller) -> None:
    async def send_with(key: str, lines: Sequence[dict[str, Any] | str]) -> Reply:
        body = "\n".join(map(json.dumps, lines)).encode()
        return await caller.request("POST", "/api/batches", data=body, headers={**NDJSON, "Idempotency-Key": key})

    lines: list[dict[str, Any] | str] = [line("a", told()), "no object"]
    first, *again = await asyncio.gather(*(send_with("batch-key", lines) for _ in range(4)))
    assert {reply.status for reply in (first, *again)} == {201}
    assert len({reply.json["result"]["id"] for reply in (first, *again)}) == 1
    assert sum("Idempotent-Replayed" in reply.headers for reply in (first, *again)) == 3
    other = await send_with("batch-key", [line("b", told())])
    assert (other.status, other.error["code"]) == (422, "idempotency_mismatch")
    chat = await caller.chat(told(), headers={"Idempotency-Key": "batch-key"})
    assert (chat.status, chat.error["code"]) == (422, "idempotency_mismatch")
    files = (await caller.request("GET", "/v1/files")).json["data"]
    assert len(files) == 1
    assert len(await results(caller, (await until(caller, first.json["result"]["id"]))["id"])) == 2
