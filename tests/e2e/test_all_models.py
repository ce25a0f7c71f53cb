"""All 111 models through the whole path, in JSON and as a stream, with and without instructions, priced from their rows."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from decimal import ROUND_CEILING, Decimal
from typing import Any

import aiohttp
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from shared.catalogue.abilities import json_form
from shared.catalogue.files import FILES
from shared.catalogue.models import load_catalogue
from shared.chat import NO_TOOLS, JsonAnswer
from shared.money import Price
from tests.e2e.openai_client import asking
from tests.harness.caller import told
from tests.harness.running import Running
from tests.harness.support import eventually_true

ROWS: dict[str, dict[str, Any]] = {
    row["name"]: row for file in FILES for row in tomllib.loads(file.read_text(), parse_float=Decimal)["model"]
}
CATALOGUE = load_catalogue()
NANO = Decimal("1e-9")
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture(scope="module")
async def demo(made_run: Running) -> dict[str, Any]:
    """`make run`, which simulates every vendor."""
    return await made_run.ready()


@pytest.fixture(scope="module")
async def session(demo: dict[str, Any]) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {demo['api_key']}"}
    async with aiohttp.ClientSession(demo["url"], headers=headers, connector=aiohttp.TCPConnector(limit=32)) as client:
        yield client


def priced(price: Price, tokens_input: int, tokens_output: int) -> Decimal:
    """What it makes of the tokens, in USD, rounded up to the nano-dollar."""
    nano = Decimal(tokens_input * price.input + tokens_output * price.output) / 1_000_000
    return (nano * NANO).quantize(NANO, ROUND_CEILING)


async def ask(session: aiohttp.ClientSession, name: str, *, stream: bool, system: bool) -> str | None:
    """Ask once; gives what is wrong with the answer, or None. Its price may change with the hour."""
    before = CATALOGUE.find(name).price
    messages = [SYSTEM] * system + [{"role": "user", "content": told(tokens=9)}]
    body = {"model": name, "messages": messages, "options": {"stream": stream, "stats": True}}
    async with session.post("/api/endpoint", json=body) as response:
        data = await response.read()
        if response.status != 200:
            return f"{name}: {response.status} {data[:200]!r}"
    if stream:
        text, _, record = data.decode().partition("\x1e")
        stats = json.loads(record, parse_float=Decimal)
    else:
        stats = json.loads(data, parse_float=Decimal)["result"]
        text = stats["response"]
    if not text.startswith("[simulated") or stats["tokens_output"] != 9:
        return f"{name}: {stats}, {text!r}"
    prices = (before, CATALOGUE.find(name).price)
    if Decimal(stats["price"]) not in [priced(one, stats["tokens_input"], stats["tokens_output"]) for one in prices]:
        return f"{name}: costs {stats['price']}"
    return None


async def test_111_of_111_answer_in_both_forms_with_and_without_a_system_prompt(
    session: aiohttp.ClientSession, demo: dict[str, Any]
) -> None:
    assert len(ROWS) == 111
    answers = await asyncio.gather(
        *(
            ask(session, name, stream=stream, system=system)
            for name in ROWS
            for stream in (False, True)
            for system in (False, True)
        )
    )
    assert [wrong for wrong in answers if wrong] == []


async def test_every_model_is_available_where_every_vendor_is_there(session: aiohttp.ClientSession) -> None:
    async with session.get("/api/models") as response:
        models = (await response.json())["result"]
    assert [model["name"] for model in models if not model["available"]] == []


async def test_a_long_answer_is_streamed_from_a_vendor_that_writes_less_of_it_at_once(
    session: aiohttp.ClientSession,
) -> None:
    body = {
        "model": "google-gemini-4-argon",
        "messages": [{"role": "user", "content": told(tokens=9)}],
        "options": {"max_tokens": 65_536},
    }
    async with session.post("/api/endpoint", json=body) as response:
        answer = await response.json()
    assert (response.status, response.headers["x-output-limit"]) == (200, "65536")
    assert answer["result"]["tokens_output"] == 9


TOWN: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "inhabitants": {"type": "integer"}},
    "required": ["name", "inhabitants"],
    "additionalProperties": False,
}
TYPED = [model for model in load_catalogue() if json_form(model, NO_TOOLS, JsonAnswer(schema=TOWN))]


async def typed_answer(client: AsyncOpenAI, name: str, *, stream: bool) -> str | None:
    """Ask for a town; gives what is wrong with the answer, or None."""
    schema = {"type": "json_schema", "json_schema": {"name": "town", "schema": TOWN, "strict": True}}
    asked: Any = {"model": name, "messages": [{"role": "user", "content": told()}], "response_format": schema}
    if stream:
        async with client.chat.completions.stream(**asked) as events:
            completion: Any = await events.get_final_completion()
    else:
        completion = await client.chat.completions.create(**asked)
    choice = completion.choices[0]
    town = json.loads(choice.message.content)
    right = town.keys() == TOWN["properties"].keys() and choice.finish_reason == "stop"
    return None if right and not choice.message.tool_calls else f"{name}: {choice}"


async def test_every_model_that_can_be_held_to_a_schema_answers_in_its_json(demo: dict[str, Any]) -> None:
    assert len(TYPED) == 61
    async with AsyncOpenAI(base_url=demo["url"] + "/v1", api_key=demo["api_key"], max_retries=0) as client:
        answers = await asyncio.gather(
            *(typed_answer(client, model.name, stream=stream) for model in TYPED for stream in (False, True))
        )
    assert [wrong for wrong in answers if wrong] == []


@pytest.mark.parametrize("stream", [False, True])
async def test_claude_answers_anthropics_client_in_the_json_of_a_schema(demo: dict[str, Any], stream: bool) -> None:  # noqa: FBT001
    asked: Any = {
        "model": "anthropic-claude-3-5-sonnet-v2",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": told()}],
        "output_config": {"format": {"type": "json_schema", "schema": TOWN}},
    }
    async with AsyncAnthropic(base_url=demo["url"], api_key=demo["api_key"], max_retries=0) as client:
        if stream:
            async with client.messages.stream(**asked) as events:
                message: Any = await events.get_final_message()
        else:
            message = await client.messages.create(**asked)
    (block,) = message.content
    assert (block.type, message.stop_reason) == ("text", "end_turn")
    assert json.loads(block.text).keys() == TOWN["properties"].keys()


DOTTED = "files.server:read/" + "x" * 100
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    "name",
    [
        "openai-gpt-4o",
        "amazon-nova-lite",
        "anthropic-claude-3-haiku",
        "meta-llama3-2-11b",
        "google-gemini-2.0-flash",
        "google-gemini-3.8-flash",
        "openai-gpt-6-luna",
        "openai-gpt-6-luna-bedrock",
        "anthropic-claude-sonnet-5-5",
        "deepseek-flash",
    ],
)
async def test_what_agents_send_of_tools_reaches_every_vendor(session: aiohttp.ClientSession, name: str) -> None:
    """Names and ids that the vendor refuses, and an image in a result."""
    tools = [{"type": "function", "function": {"name": DOTTED}}]
    call = {
        "id": "functions.read:0|fc_" + "y" * 60,
        "type": "function",
        "function": {"name": DOTTED, "arguments": "{}"},
    }
    talk = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": [{"type": "text", "text": "A cat:"}, PICTURE]},
        {"role": "user", "content": told()},
    ]
    async with session.post("/v1/chat/completions", json={"model": name, "messages": talk, "tools": tools}) as response:
        answer = await response.json()
    assert response.status == 200, answer
    (made,) = answer["choices"][0]["message"]["tool_calls"]
    assert made["function"]["name"] == DOTTED


@pytest.mark.parametrize(
    ("model", "ignored"),
    [
        ("amazon-nova-lite", "seed, frequency_penalty, presence_penalty"),
        ("openai-o3-mini", "frequency_penalty, presence_penalty"),
        ("deepseek-chat", "seed"),
        ("google-gemini-2.0-flash", None),
    ],
)
async def test_seeds_and_penalties_are_wishes(session: aiohttp.ClientSession, model: str, ignored: str | None) -> None:
    """Clients send them to every model that they do not know."""
    fields = {"seed": 0, "frequency_penalty": 0.3, "presence_penalty": -0.1}
    body = asking(told(), **fields) | {"model": model}
    async with session.post("/v1/chat/completions", json=body) as response:
        assert (response.status, response.headers.get("x-ignored")) == (200, ignored)


async def test_the_wallet_is_what_the_answers_cost(session: aiohttp.ClientSession) -> None:
    async def wallet() -> Decimal | None:
        async with session.get("/api/account") as response:
            account = (await response.json())["result"]
        return Decimal(account["balance_usd"]) if Decimal(account["held_usd"]) == 0 else None

    before = await eventually_true(wallet, "nothing is held")
    assert await ask(session, "anthropic-claude-3-opus", stream=True, system=True) is None
    after = await eventually_true(wallet, "nothing is held")
    assert 0 < before - after < Decimal("0.01")
