"""OpenAI's files and batches: raw, and with the official client, over the same core as the native ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import aiohttp
import asyncpg
import openai
import pytest
from openai import AsyncOpenAI

from shared.ids import new_id
from shared.ledger.api_keys import KeyRules
from tests.e2e.conftest import NewCaller
from tests.e2e.openai_client import asking, client_of
from tests.harness.caller import MODEL, Caller, Reply, cost_nano, expected, told
from tests.harness.support import eventually_true

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
ENDED = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(caller) as counted:
        yield counted.client


def line(custom_id: str, text: str, url: str = CHAT, **fields: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asking(text, **fields)}


def jsonl(lines: Sequence[dict[str, Any] | str]) -> bytes:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines).encode()


def form(data: bytes, *fields: tuple[str, str], file_first: bool = False) -> aiohttp.FormData:
    made = aiohttp.FormData()
    before, after = ([], fields) if file_first else (fields, [])
    for name, value in before:
        made.add_field(name, value)
    made.add_field("file", data, filename="in.jsonl", content_type="application/octet-stream")
    for name, value in after:
        made.add_field(name, value)
    return made


async def send(caller: Caller, lines: Sequence[dict[str, Any] | str]) -> Any:
    reply = await caller.request("POST", "/v1/files", data=form(jsonl(lines), ("purpose", "batch")))
    assert reply.status == 200, reply.body
    return reply.json


async def create(caller: Caller, file_id: str, endpoint: str = CHAT, key: str | None = None, **fields: Any) -> Reply:
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **fields}
    headers = {"Idempotency-Key": key} if key else {}
    return await caller.request("POST", "/v1/batches", json=body, headers=headers)


@pytest.mark.parametrize("store", [{}, {"store": False}])
async def test_lines_for_responses_are_answered_in_their_form(caller: Caller, store: dict[str, bool]) -> None:
    texts = [told(tokens=2), told(tokens=3)]
    bodies: list[dict[str, Any]] = [
        {"model": MODEL, "input": text, "instructions": "Be brief.", **store} for text in texts
    ]
    going_on = {"model": MODEL, "input": "Hello", "previous_response_id": "resp_" + "0" * 26}
    lines = [
        {"custom_id": f"id-{number}", "method": "POST", "url": RESPONSES, "body": body}
        for number, body in enumerate([*bodies, going_on])
    ]
    file = await send(caller, lines)
    made = (await create(caller, file["id"], RESPONSES)).json
    assert [(one["line"], "`previous_response_id`" in one["message"]) for one in made["errors"]["data"]] == [(3, True)]
    batch = await until_ended(caller, made["id"])
    ran = [one["response"] for one in await content(caller, batch["output_file_id"])]
    for one, text in zip(ran, texts, strict=True):
        body = one["body"]
        assert (body["id"], body["object"]) == (one["request_id"].replace("req_", "resp_"), "response")
        assert (body["status"], body["instructions"], body["store"]) == ("completed", "Be brief.", False)
        assert body["output"][0]["content"][0]["text"] == expected(text)


async def until_ended(caller: Caller, batch_id: str) -> Any:
    async def ask() -> Any:
        batch = (await caller.request("GET", f"/v1/batches/{batch_id}")).json
        return batch if batch["status"] in ENDED else None

    return await eventually_true(ask, "the batch has ended", 60)


async def content(caller: Caller, file_id: str) -> list[Any]:
    reply = await caller.request("GET", f"/v1/files/{file_id}/content")
    assert (reply.status, reply.complete) == (200, True)
    return [json.loads(one) for one in reply.body.splitlines()]


@pytest.mark.parametrize(("strict", "bad"), [(False, []), (True, [2])])
async def test_a_line_with_a_wish_that_is_not_done_is_bad_for_a_strict_key_only(
    new_caller: NewCaller,
    strict: bool,  # noqa: FBT001
    bad: list[int],
) -> None:
    caller = await new_caller(rules=KeyRules(strict=strict))
    file = await send(caller, [line("plain", told()), line("wish", told(), verbosity="low")])
    made = (await create(caller, file["id"])).json
    errors = (made["errors"] or {"data": []})["data"]
    assert [one["line"] for one in errors] == bad
    assert all("`verbosity`" in one["message"] for one in errors)
    batch = await until_ended(caller, made["id"])
    told_of = {
        one["custom_id"]: one["response"].get("ignored") for one in await content(caller, batch["output_file_id"])
    }
    assert told_of == ({"plain": None} if bad else {"plain": None, "wish": ["verbosity"]})


async def test_the_client_runs_a_batch_from_file_to_results(
    caller: Caller, client: AsyncOpenAI, books: asyncpg.Pool
) -> None:
    before = await caller.settled(books)
    texts = [told(tokens=2 + number % 3, key=f"o-{number}") for number in range(30)]
    data = jsonl(
        [line(f"id-{number}", text, temperature=0, metadata={"n": str(number)}) for number, text in enumerate(texts)]
    )
    file = await client.files.create(file=("in.jsonl", data), purpose="batch")
    assert (file.filename, file.purpose, file.status, file.bytes) == ("in.jsonl", "batch", "processed", len(data))
    made = await client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"for": "a test"}
    )
    assert (made.object, made.status, made.output_file_id, made.input_file_id) == (
        "batch",
        "in_progress",
        None,
        file.id,
    )
    await until_ended(caller, made.id)
    batch = await client.batches.retrieve(made.id)
    assert (batch.status, batch.metadata, batch.error_file_id) == ("completed", {"for": "a test"}, None)
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (30, 30, 0)
    assert batch.created_at <= (batch.completed_at or 0)
    assert batch.output_file_id
    lines = [json.loads(one) for one in (await client.files.content(batch.output_file_id)).text.splitlines()]
    assert [one["custom_id"] for one in lines] == [f"id-{number}" for number in range(30)]
    assert {(one["response"]["status_code"], one["error"]) for one in lines} == {(200, None)}
    answers = [openai.types.chat.ChatCompletion.model_validate(one["response"]["body"]) for one in lines]
    assert [answer.choices[0].message.content for answer in answers] == [expected(text) for text in texts]
    assert before - await caller.settled(books) == sum(cost_nano(text, 2 + n % 3) for n, text in enumerate(texts))
    logged = (await caller.request("GET", f"/api/requests/{answers[3].id}")).json["result"]
    assert (logged["metadata"], logged["state"]) == ({"n": "3"}, "succeeded")
    output = await client.files.retrieve(batch.output_file_id)
    assert (output.purpose, output.id) == ("batch_output", batch.output_file_id)
    for name in (batch.output_file_id, file.id):
        assert (await client.files.delete(name)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(name)


async def test_lines_that_go_wrong_are_in_the_error_file_in_order(caller: Caller) -> None:
    lines: list[dict[str, Any] | str] = [
        line("good", told()),
        "{",
        line("elsewhere", told(), url="/v1/embeddings"),
        line("other endpoint", told(), url=MESSAGES, max_tokens=5),
        line("streamed", told(), stream=True),
        line("vendor", told(status=400)),
        {**line("put", told()), "method": "PUT"},
        line("fine", told()),
    ]
    file = await send(caller, lines)
    assert file["status_details"].startswith("5 of 8 lines")
    made = (await create(caller, file["id"])).json
    assert [one["line"] for one in made["errors"]["data"]] == [2, 3, 4, 5, 7]
    assert "/v1/embeddings" in made["errors"]["data"][1]["message"]
    batch = await until_ended(caller, made["id"])
    assert batch["request_counts"] == {"total": 8, "completed": 2, "failed": 6}
    assert [one["custom_id"] for one in await content(caller, batch["output_file_id"])] == ["good", "fine"]
    errors = await content(caller, batch["error_file_id"])
    assert [one["error"]["code"] for one in errors] == [
        *["invalid_request"] * 4,
        "provider_rejected",
        "invalid_request",
    ]
    assert [one["response"] is None for one in errors] == [True, True, True, True, False, True]
    refused = errors[4]["response"]
    assert (refused["status_code"], refused["body"]["error"]["code"]) == (502, "provider_rejected")


async def test_lines_for_messages_are_answered_as_messages(caller: Caller) -> None:
    text = told(tokens=4)
    file = await send(caller, [line("a", text, url=MESSAGES, max_tokens=9)])
    refused = await create(caller, file["id"])
    assert (refused.status, refused.json["error"]["param"]) == (400, "endpoint")
    batch = await until_ended(caller, (await create(caller, file["id"], MESSAGES)).json["id"])
    (answer,) = await content(caller, batch["output_file_id"])
    body = answer["response"]["body"]
    assert (body["type"], body["content"][0]["text"], body["model"]) == ("message", expected(text), MODEL)


async def test_tools_are_called_in_a_batch(caller: Caller) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    file = await send(caller, [line("a", told(calls=1), tools=[tool])])
    batch = await until_ended(caller, (await create(caller, file["id"])).json["id"])
    (answer,) = await content(caller, batch["output_file_id"])
    choice = answer["response"]["body"]["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "look"


async def test_a_batch_without_a_good_line_has_failed_and_says_why(caller: Caller) -> None:
    file = await send(caller, ["{", "[]"])
    batch = (await create(caller, file["id"])).json
    assert (batch["status"], batch["output_file_id"], len(batch["errors"]["data"])) == ("failed", None, 2)
    assert batch["failed_at"]
    assert len(await content(caller, batch["error_file_id"])) == 2


async def test_a_cancelled_batch_names_what_was_never_called(caller: Caller, client: AsyncOpenAI) -> None:
    key = new_id("key")
    lines = [line(f"id-{number}", told(hold=1, key=key)) for number in range(1_200)]
    made = (await create(caller, (await send(caller, lines))["id"])).json
    with pytest.raises(openai.ConflictError):
        await client.files.delete(made["input_file_id"])
    assert (await client.batches.cancel(made["id"])).status == "cancelling"
    await caller.release(key)
    batch = await until_ended(caller, made["id"])
    assert batch["status"] == "cancelled"
    assert batch["cancelling_at"] <= batch["cancelled_at"]
    errors = await content(caller, batch["error_file_id"])
    assert {(one["response"], one["error"]["code"]) for one in errors} == {(None, "batch_cancelled")}
    assert len(errors) == batch["request_counts"]["failed"] > 0


@pytest.mark.parametrize("file_first", [False, True])
async def test_fields_may_stand_on_either_side_of_the_file(caller: Caller, file_first: bool) -> None:  # noqa: FBT001
    fields = [("purpose", "batch"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600")]
    made = form(jsonl([line("a", told())]), *fields, file_first=file_first)
    file = (await caller.request("POST", "/v1/files", data=made)).json
    assert (file["status"], file["expires_at"] - file["created_at"]) == ("processed", 3_600)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([], "purpose"),
        ([("purpose", "fine-tune")], "purpose"),
        ([("purpose", "batch"), ("colour", "red")], "colour"),
        ([("purpose", "batch"), ("purpose", "batch")], "purpose"),
        ([("purpose", "batch"), ("expires_after[anchor]", "created_at")], "expires_after"),
        ([("purpose", "batch"), ("expires_after[seconds]", "5")], "expires_after"),
        ([("purpose", "x" * 2_000)], "purpose"),
    ],
)
@pytest.mark.parametrize("file_first", [False, True])
async def test_a_form_that_is_not_right_is_refused_and_leaves_nothing(
    caller: Caller, books: asyncpg.Pool, fields: list[tuple[str, str]], named: str, *, file_first: bool
) -> None:
    made = form(jsonl([line("a", told())]), *fields, file_first=file_first)
    reply = await caller.request("POST", "/v1/files", data=made)
    assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_request")
    assert named in reply.json["error"]["message"]
    assert (await caller.request("GET", "/v1/files")).json["data"] == []
    query = "SELECT count(*) = 0 FROM file_lines JOIN files ON files.id = file_id WHERE account_id = $1"
    await eventually_true(lambda: books.fetchval(query, caller.account_id), "its lines are gone")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=x", b"no form", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 200 + b"\r\n--x--\r\n", 400),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nbroken off',
            400,
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
            400,
        ),
    ],
)
async def test_what_is_no_form_is_refused(caller: Caller, content_type: str, body: bytes, status: int) -> None:
    reply = await caller.request("POST", "/v1/files", data=body, headers={"Content-Type": content_type})
    assert reply.status == status, reply.body


async def test_a_file_that_was_sent_is_not_given_back(caller: Caller) -> None:
    file = await send(caller, [line("a", told())])
    reply = await caller.request("GET", f"/v1/files/{file['id']}/content")
    assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_request")


async def test_without_credit_files_are_refused(new_caller: NewCaller) -> None:
    poor = await new_caller(credit=0)
    reply = await poor.request("POST", "/v1/files", data=form(jsonl([line("a", told())]), ("purpose", "batch")))
    assert (reply.status, reply.json["error"]["code"]) == (402, "insufficient_credit")


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "/v1/embeddings"},
        {"completion_window": "48h"},
        {"metadata": {"a": 1}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 3_600}},
        {"colour": "red"},
    ],
)
async def test_what_a_batch_cannot_have_is_named(caller: Caller, fields: dict[str, Any]) -> None:
    file = await send(caller, [line("a", told())])
    reply = await create(caller, file["id"], **fields)
    assert (reply.status, next(iter(fields)) in reply.json["error"]["message"]) == (400, True)


async def test_lists_are_paged_by_the_client(caller: Caller, client: AsyncOpenAI) -> None:
    files = [(await send(caller, [line("a", told())]))["id"] for _ in range(3)]
    batches = [(await create(caller, file_id)).json["id"] for file_id in files]
    assert [file.id async for file in client.files.list(limit=2)] == files[::-1]
    assert [file.id async for file in client.files.list(limit=2, order="asc")] == files
    assert [file.id async for file in client.files.list(purpose="vision")] == []
    assert [batch.id async for batch in client.batches.list(limit=2)] == batches[::-1]


async def test_the_same_idempotency_key_makes_one_batch(caller: Caller) -> None:
    file = await send(caller, [line("a", told())])
    first, again = [await create(caller, file["id"], key="one") for _ in range(2)]
    assert first.json["id"] == again.json["id"]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    other = await create(caller, file["id"], key="one", metadata={"a": "b"})
    assert (other.status, other.json["error"]["code"]) == (422, "idempotency_mismatch")
    assert (await create(caller, file["id"])).json["id"] != first.json["id"]


async def test_the_same_idempotency_key_makes_one_file(caller: Caller) -> None:
    async def send_with(key: str, text: str) -> Reply:
        data = form(jsonl([line("a", text)]), ("purpose", "batch"))
        return await caller.request("POST", "/v1/files", data=data, headers={"Idempotency-Key": key})

    text = told()
    first, again = [await send_with("file", text) for _ in range(2)]
    assert first.json == again.json
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    other = await send_with("file", told(tokens=9))
    assert (other.status, other.json["error"]["code"]) == (422, "idempotency_mismatch")
    assert len((await caller.request("GET", "/v1/files")).json["data"]) == 1
    assert (await create(caller, first.json["id"], key="file")).status == 422


@pytest.mark.parametrize(
    "route",
    [
        "GET /v1/files/{file}",
        "GET /v1/files/{file}/content",
        "DELETE /v1/files/{file}",
        "GET /v1/files/{output}",
        "GET /v1/files/{output}/content",
        "DELETE /v1/files/{output}",
        "GET /v1/batches/{batch}",
        "POST /v1/batches/{batch}/cancel",
    ],
)
async def test_another_accounts_files_and_batches_are_not_there(
    caller: Caller, new_caller: NewCaller, route: str
) -> None:
    file = await send(caller, [line("a", told())])
    batch = await until_ended(caller, (await create(caller, file["id"])).json["id"])
    stranger = await new_caller()
    method, path = route.split()
    mine = {"file": file["id"], "batch": batch["id"], "output": batch["output_file_id"]}
    nobodys = {"file": "file_x%00", "batch": new_id("batch"), "output": f"{new_id('batch')}_output"}
    for names in (mine, nobodys):
        reply = await stranger.request(method, path.format(**names))
        assert (reply.status, reply.json["error"]["code"]) == (404, "not_found")
        assert "/api/" not in reply.json["error"]["message"]
    assert (await create(stranger, file["id"])).status == 404
    assert (await stranger.request("GET", "/v1/batches")).json["data"] == []


async def test_a_keys_rate_counts_the_batch_and_not_its_lines_nor_its_file(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(rpm=2))
    file_id, other_id = [(await send(caller, [line(str(n), told(tokens=1)) for n in range(5)]))["id"] for _ in "ab"]
    assert (await create(caller, new_id("file"))).status == 404, "what is no batch is not counted"
    first = await create(caller, file_id, key="counted")
    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (200, "1")
    again = await create(caller, file_id, key="counted")
    assert (again.status, again.headers["x-ratelimit-limit-requests"]) == (200, "2")
    mismatch = await create(caller, other_id, key="counted")
    assert (mismatch.status, mismatch.headers["x-ratelimit-remaining-requests"]) == (422, "0")
    refused = await create(caller, file_id)
    assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert (await until_ended(caller, first.json["id"]))["request_counts"]["completed"] == 5


async def test_what_is_over_is_gone_in_openais_and_in_the_native_form(
    caller: Caller, client: AsyncOpenAI, books: asyncpg.Pool
) -> None:
    file = await send(caller, [line("a", told())])
    made = await create(caller, file["id"])
    batch = await until_ended(caller, made.json["id"])
    await books.execute("UPDATE batch_keeping SET results_until = now() WHERE batch_id = $1", batch["id"])
    await books.execute("UPDATE files SET expires_at = now() WHERE id = $1", file["id"])
    for method, path in (
        ("GET", f"/v1/files/{batch['output_file_id']}/content"),
        ("GET", f"/v1/files/{batch['output_file_id']}"),
        ("GET", f"/v1/files/{file['id']}"),
        ("DELETE", f"/v1/files/{file['id']}"),
    ):
        reply = await caller.request(method, path)
        assert (reply.status, reply.json["error"]["code"]) == (410, "gone"), path
    again = await create(caller, file["id"])
    assert (again.status, again.json["error"]["code"]) == (410, "gone")
    native = await caller.request("GET", f"/api/batches/{batch['id']}/results", params={"after": "a"})
    assert (native.status, native.error["code"]) == (410, "gone")
    with pytest.raises(openai.APIStatusError) as raised:
        await client.files.content(batch["output_file_id"])
    assert raised.value.status_code == 410
