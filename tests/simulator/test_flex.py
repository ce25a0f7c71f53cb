"""The service tier flex of OpenAI and Gemini, by their own SDKs against the simulator."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest
from aiohttp import ClientSession
from google import genai
from google.genai import errors, types

from deploy.simulator.app import Running

FLEX_MODEL, OTHER_MODEL = "gpt-5.5-2026-04-23", "gpt-4o-2024-08-06"
FLEX_GEMINI, OTHER_GEMINI = "gemini-3.8-flash", "gemini-4-neon"
CONFIG = types.GenerateContentConfig(service_tier=types.ServiceTier.FLEX)


@pytest.fixture
def openai_client(simulator: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="k", base_url=simulator.openai, max_retries=0)


@pytest.fixture
def gemini_client(simulator: Running) -> genai.Client:
    options = types.HttpOptions(
        base_url=simulator.gemini, api_version="v1beta", retry_options=types.HttpRetryOptions(attempts=1)
    )
    return genai.Client(api_key="k", vertexai=False, http_options=options)


def _body(text: str, model: str = FLEX_MODEL, tier: str = "flex") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "service_tier": tier}


async def test_openai_says_which_tier_served(openai_client: openai.AsyncOpenAI, simulator: Running) -> None:
    for directive, served in (("", "flex"), ("served=default", "default")):
        completion = await openai_client.chat.completions.create(**_body(f"[[sim tokens=2 key=o{served} {directive}]]"))
        assert completion.service_tier == served
        stream = await openai_client.chat.completions.create(**_body(f"[[sim tokens=2 {directive}]]"), stream=True)
        assert {chunk.service_tier async for chunk in stream} == {served}
        assert [call.tier for call in simulator.calls.find(f"o{served}")] == [served]
    ordinary = await openai_client.chat.completions.create(**_body("[[sim tokens=2 served=priority]]", tier="auto"))
    assert ordinary.service_tier == "default"


async def test_openai_refuses_models_without_it_and_unknown_tiers(openai_client: openai.AsyncOpenAI) -> None:
    for body in (_body("hi", OTHER_MODEL), _body("hi", tier="cheap")):
        with pytest.raises(openai.BadRequestError, match="Invalid service_tier argument") as refused:
            await openai_client.chat.completions.create(**body)
        assert refused.value.param == "service_tier"


async def test_missing_capacity_is_openais_429_for_the_first_calls_of_a_key(openai_client: openai.AsyncOpenAI) -> None:
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as refused:
            await openai_client.chat.completions.create(**_body("[[sim tokens=2 full=2 key=a]]"))
        assert refused.value.code == "resource_unavailable"
    assert (await openai_client.chat.completions.create(**_body("[[sim tokens=2 full=2 key=a]]"))).choices
    ordinary = _body("[[sim tokens=2 full=2 key=b]]", tier="default")
    assert (await openai_client.chat.completions.create(**ordinary)).choices


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
async def test_gemini_says_which_tier_served_where_one_was_asked_for(simulator: Running, method: str) -> None:
    """The SDK does not parse it yet, so its bytes are looked at."""
    for asked, directive, said in (("flex", "", b"flex"), ("flex", "served=default", b"standard"), (None, "", None)):
        contents = [{"role": "user", "parts": [{"text": f"[[sim tokens=2 {directive}]]"}]}]
        body = {"contents": contents} | ({"serviceTier": asked} if asked else {})
        url = f"{simulator.gemini}/v1beta/models/{FLEX_GEMINI}:{method}"
        async with ClientSession() as session, session.post(url, json=body, headers={"x-goog-api-key": "k"}) as answer:
            found = set(re.findall(rb'"serviceTier":"(.*?)"', await answer.read()))
        assert found == ({said} if said else set())


async def test_gemini_refuses_models_without_it_and_when_it_has_no_capacity(gemini_client: genai.Client) -> None:
    models = gemini_client.aio.models
    with pytest.raises(errors.ClientError, match="Flex API is not supported for model"):
        await models.generate_content(model=OTHER_GEMINI, contents="hi", config=CONFIG)
    with pytest.raises(errors.ServerError) as refused:
        await models.generate_content(model=FLEX_GEMINI, contents="[[sim full=1 key=g]]", config=CONFIG)
    assert (refused.value.code, refused.value.status) == (503, "UNAVAILABLE")
    assert await models.generate_content(model=FLEX_GEMINI, contents="[[sim full=1 key=g]]", config=CONFIG)


async def test_the_bill_has_what_was_answered_by_model_and_tier(
    openai_client: openai.AsyncOpenAI, simulator: Running
) -> None:
    with pytest.raises(openai.RateLimitError):
        await openai_client.chat.completions.create(**_body("[[sim tokens=3 full=1 key=bill]]"))
    await openai_client.chat.completions.create(**_body("[[sim tokens=3 full=1 key=bill]]"))
    for tokens in (2, 4):
        await openai_client.chat.completions.create(
            **_body(f"[[sim tokens={tokens} served=default key=bill-{tokens}]]")
        )
    async with ClientSession() as session, session.get(f"{simulator.url}/_calls/bill?prefix=bill") as response:
        lines = (await response.json())["bill"]
    assert [(line["tier"], line["calls"], line["output_tokens"]) for line in lines] == [
        ("default", 2, 6),
        ("flex", 1, 3),
    ]
    assert all(line["model"] == FLEX_MODEL and line["prompt_tokens"] > 0 for line in lines)
