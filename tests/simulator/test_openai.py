"""OpenAI's own SDK against the simulator: the protocol as the vendor speaks it, and every fault as a caller sees it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from deploy.simulator import answer
from deploy.simulator.app import Running
from deploy.simulator.script import from_message
from tests.simulator.conftest import DEFAULTS

MODEL = "gpt-4o-2024-08-06"


@pytest.fixture(scope="module")
async def client(served: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=served.openai, max_retries=0) as made:
        yield made


def body(text: str, **more: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def expected(text: str) -> str:
    return "".join(answer.answer(MODEL, text, from_message(text, DEFAULTS)))


async def collect(received: AsyncIterator[ChatCompletionChunk], chunks: list[ChatCompletionChunk]) -> None:
    async for chunk in received:
        chunks.append(chunk)  # noqa: PERF401 (what came before a failure must be seen)


async def stream(client: openai.AsyncOpenAI, text: str) -> list[ChatCompletionChunk]:
    chunks: list[ChatCompletionChunk] = []
    options = {"include_usage": True}
    await collect(await client.chat.completions.create(**body(text, stream=True, stream_options=options)), chunks)
    return chunks


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_a_json_answer_has_text_reason_and_usage(client: openai.AsyncOpenAI) -> None:
    text = "hi [[sim tokens=30 unicode=1 cached=2 written=3 reasoning=4]]"
    completion = await client.chat.completions.create(**body(text))
    assert completion.choices[0].message.content == expected(text)
    assert (completion.object, completion.model, completion.choices[0].finish_reason) == (
        "chat.completion",
        MODEL,
        "stop",
    )
    usage = completion.usage
    assert usage is not None
    assert usage.prompt_tokens == answer.prompt_tokens([text])
    assert usage.completion_tokens == 34
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 2
    assert usage.prompt_tokens_details.cache_write_tokens == 3
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 4


@pytest.mark.parametrize("how", ["", "split=1", "surrogate=1", "split=1 surrogate=1"])
async def test_a_stream_is_byte_exact(simulator: Running, how: str) -> None:
    text = f"hi [[sim tokens=60 unicode=1 {how}]]"
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session,
        session.post(f"{simulator.openai}/chat/completions", json=body(text, stream=True)) as response,
    ):
        raw = (await response.read()).decode()
    assert raw.endswith("data: [DONE]\n\n")
    events = [json.loads(event.removeprefix("data: ")) for event in raw.split("\n\n")[:-2]]
    joined = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert joined.encode("utf-16", "surrogatepass").decode("utf-16") == expected(text)


async def test_a_stream_says_role_first_then_tokens_reason_and_usage(client: openai.AsyncOpenAI) -> None:
    chunks = await stream(client, "hi [[sim tokens=5 split=1]]")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == expected("hi [[sim tokens=5 split=1]]")
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * 6 + ["stop"]
    assert chunks[-1].choices == []
    assert [c.usage is None for c in chunks] == [True] * 7 + [False]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


async def test_without_asking_there_is_no_usage_chunk(client: openai.AsyncOpenAI) -> None:
    chunks = [c async for c in await client.chat.completions.create(**body("hi", stream=True))]
    assert all(c.choices and c.usage is None for c in chunks)


async def test_limits_and_stop_sequences_are_honoured(client: openai.AsyncOpenAI) -> None:
    cut = await client.chat.completions.create(**body("hi", max_completion_tokens=8))
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 8
    stopped = await client.chat.completions.create(**body("hi", stop=["made up"]))
    assert stopped.choices[0].message.content == f"[simulated {MODEL}] This text was "


REFUSED = [
    ({"model": "gpt-none"}, 404, "model_not_found"),
    ({"model": "o1-mini", "messages": [{"role": "system", "content": "x"}]}, 400, "unsupported_value"),
    ({"model": "o1-mini", "temperature": 0.5}, 400, "unsupported_value"),
    ({"model": "o1", "temperature": 0.5}, 400, "unsupported_parameter"),
    ({"model": "o3-mini", "max_tokens": 5}, 400, "unsupported_parameter"),
    ({"max_completion_tokens": 20_000}, 400, "invalid_value"),
    ({"messages": [{"role": "user", "content": "x" * 600_000}]}, 400, "context_length_exceeded"),
    ({"messages": [{"role": "user", "content": "[[sim fault=retired]]"}]}, 404, "model_not_found"),
    ({"messages": [{"role": "user", "content": "[[sim oops=1]]"}]}, 400, None),
]


@pytest.mark.parametrize(("change", "status", "code"), REFUSED)
async def test_the_vendors_rules_are_enforced(
    client: openai.AsyncOpenAI, change: dict[str, Any], status: int, code: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(**{**body("hi"), **change})
    assert (caught.value.status_code, caught.value.code) == (status, code)


async def test_o1_mini_accepts_the_default_temperature_and_aliases_give_the_dated_name(
    client: openai.AsyncOpenAI,
) -> None:
    completion = await client.chat.completions.create(**{**body("hi", temperature=1), "model": "o1-mini"})
    assert completion.model == "o1-mini-2024-09-12"


async def test_a_missing_key_is_401(simulator: Running) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.openai}/chat/completions", json=body("hi")) as response,
    ):
        assert response.status == 401


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_a_scripted_status_has_the_vendors_shape(client: openai.AsyncOpenAI, status: int) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await stream(client, f"[[sim status={status} retry_after=3 code=why]]")
    assert (caught.value.status_code, caught.value.code) == (status, "why")
    assert caught.value.response.headers["retry-after"] == "3"


async def test_a_fault_with_times_lets_the_retry_succeed(client: openai.AsyncOpenAI, simulator: Running) -> None:
    text = "[[sim status=503 times=1 key=again]]"
    with pytest.raises(openai.InternalServerError):
        await stream(client, text)
    assert text_of(await stream(client, text)) == expected(text)
    assert [call.ending for call in simulator.calls.find("again")] == ["fault", "completed"]


async def test_an_error_event_raises_without_status(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError) as caught:
        await stream(client, "[[sim fault=error_event after=3 code=server_is_overloaded]]")
    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == "server_is_overloaded"


async def test_garbage_raises_a_json_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(json.JSONDecodeError):
        await stream(client, "[[sim fault=garbage after=3]]")


@pytest.mark.parametrize("fault", ["cut", "fin"])
async def test_a_broken_connection_is_a_connection_error(client: openai.AsyncOpenAI, fault: str) -> None:
    received = await client.chat.completions.create(**body(f"[[sim fault={fault} after=3]]", stream=True))
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIConnectionError):
        await collect(received, chunks)
    assert text_of(chunks) == f"[simulated {MODEL}] This"


@pytest.mark.parametrize("fault", ["early_end", "empty", "no_finish"])
async def test_a_tidy_end_without_marker_raises_nothing(client: openai.AsyncOpenAI, fault: str) -> None:
    chunks = await stream(client, f"[[sim fault={fault} after=3]]")
    assert not [c for chunk in chunks for c in chunk.choices if c.finish_reason]


async def test_a_stream_without_done_still_has_its_reason(client: openai.AsyncOpenAI) -> None:
    chunks = await stream(client, "[[sim fault=no_done]]")
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("fault", ["silence", "comments", "endless"])
async def test_what_never_ends_goes_on_until_the_client_leaves(
    client: openai.AsyncOpenAI, simulator: Running, fault: str
) -> None:
    text = f"[[sim fault={fault} after=3 key=open tokens=6 pace_ms=1]]"
    received = await client.chat.completions.create(**body(text, stream=True))
    for _ in range(4):
        await anext(received)
    assert simulator.calls.find("open")[0].ending == ""
    await received.close()
    await simulator.calls.until(lambda log: bool(log.find("open", "client_gone")))


async def test_a_client_that_leaves_before_the_first_token_is_noticed(
    client: openai.AsyncOpenAI, simulator: Running
) -> None:
    task = asyncio.ensure_future(stream(client, "[[sim first_ms=600000 key=early]]"))
    await simulator.calls.until(lambda log: bool(log.find("early")))
    task.cancel()
    await simulator.calls.until(lambda log: bool(log.find("early", "client_gone")))
    assert simulator.calls.find("early")[0].tokens_sent == 0


async def test_a_client_that_leaves_between_tokens_is_noticed(client: openai.AsyncOpenAI, simulator: Running) -> None:
    async with await client.chat.completions.create(**body("[[sim hold=4 key=between]]", stream=True)) as received:
        for _ in range(5):
            await anext(received)
    await simulator.calls.until(lambda log: bool(log.find("between", "client_gone")))
    assert simulator.calls.find("between")[0].tokens_sent == 4


async def test_a_held_stream_goes_on_when_released(client: openai.AsyncOpenAI, simulator: Running) -> None:
    text = "[[sim hold=4 key=gate tokens=9]]"
    received = await client.chat.completions.create(**body(text, stream=True))
    chunks = [await anext(received) for _ in range(5)]
    async with aiohttp.ClientSession(simulator.url) as session:
        async with session.get("/_calls/wait?key=gate&ending=&sent=4") as response:
            assert len((await response.json())["calls"]) == 1
        async with session.post("/_release?key=gate") as response:
            assert response.status == 200
    chunks += [chunk async for chunk in received]
    assert text_of(chunks) == expected(text)


@pytest.mark.parametrize("fault", ["cut", "fin", "early_end", "garbage", "empty", "html", "html status=200"])
async def test_json_answers_break_too(client: openai.AsyncOpenAI, fault: str) -> None:
    with pytest.raises((openai.APIError, json.JSONDecodeError, AttributeError)):
        (await client.chat.completions.create(**body(f"[[sim fault={fault}]]"))).model_dump()


async def test_an_error_in_a_200_has_no_choices(client: openai.AsyncOpenAI) -> None:
    assert not (await client.chat.completions.create(**body("[[sim fault=error_event]]"))).choices


async def test_keep_alives_are_tolerated(client: openai.AsyncOpenAI) -> None:
    assert text_of(await stream(client, "[[sim keepalive=3]]"))
    assert (await client.chat.completions.create(**body("[[sim keepalive=3]]"))).choices


@pytest.mark.parametrize(("form", "tokens"), [("negative", -24), ("huge", 10**15), ("zero", 0), ("wrong", 1120)])
async def test_usage_can_be_a_lie(client: openai.AsyncOpenAI, form: str, tokens: int) -> None:
    usage = (await stream(client, f"[[sim usage={form}]]"))[-1].usage
    assert usage is not None
    assert usage.completion_tokens == tokens


async def test_usage_can_be_missing(client: openai.AsyncOpenAI) -> None:
    assert (await stream(client, "[[sim usage=missing]]"))[-1].choices[0].finish_reason == "stop"


async def test_images_are_counted(client: openai.AsyncOpenAI) -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    messages: Any = [{"role": "user", "content": parts}]
    completion = await client.chat.completions.create(model=MODEL, messages=messages)
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == answer.prompt_tokens(["look"], images=1)


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert MODEL in {model.id async for model in client.models.list()}


async def test_the_control_endpoints_steer_and_count(simulator: Running, client: openai.AsyncOpenAI) -> None:
    async with aiohttp.ClientSession(simulator.url) as session:
        async with (
            session.post("/_calls/reset"),
            session.post("/_defaults", json={"status": 429, "key": "all"}) as response,
        ):
            assert response.status == 200
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**body("hi"))
        async with session.post("/_defaults", json={}):
            await client.chat.completions.create(**body("[[sim key=one]]"))
        async with session.get("/_calls/wait?key=one&ending=completed") as response:
            assert [call["key"] for call in (await response.json())["calls"]] == ["one"]
        async with session.get("/_calls/count") as response:
            assert await response.json() == {"count": 2}
        async with session.post("/_calls/reset"), session.get("/_calls") as response:
            assert await response.json() == {"calls": []}
        async with session.post("/_defaults", json={"oops": 1}) as response:
            assert response.status == 400
