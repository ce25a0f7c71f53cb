"""Google's own SDK (google-genai) against the simulator."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import httpx2
import pytest
from google import genai
from google.genai import errors, types

from deploy.simulator import answer
from deploy.simulator.app import Running
from deploy.simulator.script import from_message
from tests.simulator.conftest import DEFAULTS

MODEL = "gemini-2.0-flash"


@pytest.fixture(scope="module")
async def client(served: Running) -> AsyncIterator[genai.Client]:
    async with httpx2.AsyncClient() as transport:
        options = types.HttpOptions(
            base_url=served.gemini,
            api_version="v1beta",
            timeout=20_000,
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=transport,
        )
        yield genai.Client(api_key="k", vertexai=False, http_options=options)


def expected(text: str) -> str:
    return "".join(answer.answer(MODEL, text, from_message(text, DEFAULTS)))


async def generate(
    client: genai.Client, text: str, model: str = MODEL, config: types.GenerateContentConfig | None = None
) -> types.GenerateContentResponse:
    return await client.aio.models.generate_content(model=model, contents=text, config=config)


async def stream(client: genai.Client, text: str) -> list[types.GenerateContentResponse]:
    return [chunk async for chunk in await client.aio.models.generate_content_stream(model=MODEL, contents=text)]


def text_of(chunks: list[types.GenerateContentResponse]) -> str:
    return "".join(chunk.text or "" for chunk in chunks)


def finish_of(chunks: list[types.GenerateContentResponse]) -> list[types.FinishReason]:
    found = [candidate.finish_reason for chunk in chunks for candidate in chunk.candidates or []]
    return [reason for reason in found if reason]


async def test_a_json_answer_has_text_reason_and_usage(client: genai.Client) -> None:
    text = "hi [[sim unicode=1 tokens=40 cached=2 reasoning=3]]"
    response = await generate(client, text, config=types.GenerateContentConfig(system_instruction="be brief"))
    assert response.text == expected(text)
    assert finish_of([response]) == [types.FinishReason.STOP]
    usage = response.usage_metadata
    assert usage is not None
    assert usage.prompt_token_count == answer.prompt_tokens(["be brief", text])
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (40, 3)
    assert usage.cached_content_token_count == 2


@pytest.mark.parametrize("how", ["", "split=1", "keepalive=2"])
async def test_a_stream_is_exact_and_its_usage_grows(client: genai.Client, how: str) -> None:
    text = f"hi [[sim unicode=1 tokens=40 {how}]]"
    chunks = await stream(client, text)
    assert text_of(chunks) == expected(text)
    counts = [chunk.usage_metadata.candidates_token_count for chunk in chunks if chunk.usage_metadata]
    assert counts == [*range(1, 41), 40]
    assert finish_of(chunks) == [types.FinishReason.STOP]


async def test_without_sse_a_stream_is_one_json_array(simulator: Running) -> None:
    url = f"{simulator.gemini}/v1beta/models/{MODEL}:streamGenerateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    headers = {"x-goog-api-key": "k"}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        chunks = json.loads(await response.read())
    assert "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks) == expected("hi")


async def test_limits_and_stop_sequences_are_honoured(client: genai.Client) -> None:
    cut = await generate(client, "hi", config=types.GenerateContentConfig(max_output_tokens=8))
    assert finish_of([cut]) == [types.FinishReason.MAX_TOKENS]
    stopped = await generate(client, "hi", config=types.GenerateContentConfig(stop_sequences=["made up"]))
    assert stopped.text == f"[simulated {MODEL}] This text was "


async def test_a_blocked_prompt_has_no_candidates(client: genai.Client) -> None:
    for chunks in (await stream(client, "[[sim fault=blocked]]"), [await generate(client, "[[sim fault=blocked]]")]):
        assert len(chunks) == 1
        assert not chunks[0].candidates
        assert chunks[0].prompt_feedback is not None
        assert chunks[0].prompt_feedback.block_reason == types.BlockedReason.SAFETY


async def test_a_blocked_answer_has_its_reason(client: genai.Client) -> None:
    assert finish_of(await stream(client, "[[sim finish=SAFETY tokens=3]]")) == [types.FinishReason.SAFETY]


REFUSED = [
    ("hi", "gemini-gone", 404, "NOT_FOUND"),
    ("[[sim fault=retired]]", MODEL, 404, "NOT_FOUND"),
    ("[[sim status=429 retry_after=27]]", MODEL, 429, "RESOURCE_EXHAUSTED"),
    ("[[sim status=503]]", MODEL, 503, "UNAVAILABLE"),
    ("[[sim status=500]]", MODEL, 500, "INTERNAL"),
    ("[[sim status=403]]", MODEL, 403, "PERMISSION_DENIED"),
    ("[[sim oops=1]]", MODEL, 400, None),
]


@pytest.mark.parametrize(("text", "model", "code", "status"), REFUSED)
async def test_refusals_follow_googles_error_model(
    client: genai.Client, text: str, model: str, code: int, status: str | None
) -> None:
    with pytest.raises(errors.APIError) as caught:
        await generate(client, text, model)
    assert (caught.value.code, caught.value.status) == (code, status)


async def test_a_retry_hint_is_a_detail_of_the_error(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await generate(client, "[[sim status=429 retry_after=27]]")
    assert caught.value.details["error"]["details"][0]["retryDelay"] == "27s"


async def test_too_many_output_tokens_are_refused(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError, match="maxOutputTokens"):
        await generate(client, "hi", config=types.GenerateContentConfig(max_output_tokens=9_000))


async def test_an_error_in_the_stream_raises_with_its_code(client: genai.Client) -> None:
    with pytest.raises(errors.ServerError) as caught:
        await stream(client, "[[sim fault=error_event status=503 after=3]]")
    assert caught.value.code == 503


async def test_garbage_raises(client: genai.Client) -> None:
    with pytest.raises(errors.UnknownApiResponseError):
        await stream(client, "[[sim fault=garbage after=3]]")


@pytest.mark.parametrize("fault", ["cut", "fin"])
async def test_a_broken_connection_is_a_transport_error(client: genai.Client, fault: str) -> None:
    with pytest.raises(httpx2.TransportError):
        await stream(client, f"[[sim fault={fault} after=3]]")


@pytest.mark.parametrize("fault", ["early_end", "empty", "no_finish"])
async def test_a_tidy_end_without_reason_raises_nothing(client: genai.Client, fault: str) -> None:
    assert finish_of(await stream(client, f"[[sim fault={fault} after=3]]")) == []


@pytest.mark.parametrize("form", ["missing", "negative", "huge"])
async def test_usage_can_be_missing_or_a_lie(client: genai.Client, form: str) -> None:
    usage = (await stream(client, f"[[sim usage={form}]]"))[-1].usage_metadata
    assert (usage and usage.candidates_token_count) == {"missing": None, "negative": -24, "huge": 10**15}[form]


async def test_a_held_stream_goes_on_when_released(client: genai.Client, simulator: Running) -> None:
    text = "[[sim hold=2 key=held]]"
    received = await client.aio.models.generate_content_stream(model=MODEL, contents=text)
    chunks = [await anext(received), await anext(received)]
    simulator.simulator.release("held")
    chunks += [chunk async for chunk in received]
    assert text_of(chunks) == expected(text)


async def test_a_client_that_leaves_while_it_waits_is_noticed(client: genai.Client, simulator: Running) -> None:
    task = asyncio.ensure_future(stream(client, "[[sim hold=2 key=gone]]"))
    await simulator.calls.until(lambda log: any(call.tokens_sent == 2 for call in log.find("gone")))
    task.cancel()
    await simulator.calls.until(lambda log: bool(log.find("gone", "client_gone")))
