"""What clients send beside what a model can: bounds are lowered, wishes left out and named."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from deploy.simulator.answer import prompt_tokens
from shared.ledger.api_keys import KeyRules
from tests.e2e.anthropic_client import asked, client_of
from tests.e2e.conftest import NewCaller
from tests.e2e.openai_client import asking
from tests.harness.caller import MODEL, Caller, told

WISHES: dict[str, dict[str, Any]] = {
    "reasoning_effort": {"reasoning_effort": "low"},
    "min_p": {"extra_body": {"min_p": 0.1}},
    r"\?trace": {"extra_query": {"trace": "1"}},
}
COMPLETIONS, MESSAGES, NATIVE = "/v1/chat/completions", "/v1/messages", "/api/endpoint"
MARK = {"type": "ephemeral"}
NEW_MODELS_BODY: dict[str, Any] = {
    "system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
    "tools": [
        {"name": "Read", "input_schema": {"type": "object"}},
        {"name": "Later", "input_schema": {"type": "object"}, "defer_loading": True},
    ],
    "metadata": {"user_id": "someone"},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "max_tokens": 32_000,
}
"""What a coding agent sends to a model that it takes for a new one."""


def body_for(path: str, limit: int, model: str = MODEL) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": told(tokens=5)}]}
    return body | ({"options": {"max_tokens": limit}} if path == NATIVE else {"max_tokens": limit})


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, NATIVE])
async def test_an_output_limit_is_an_upper_bound_that_the_model_lowers(caller: Caller, path: str) -> None:
    reply = await caller.request("POST", path, json=body_for(path, 128_000))
    assert (reply.status, reply.headers["x-output-limit"]) == (200, "16384")


@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, NATIVE])
async def test_an_output_limit_is_lowered_to_what_the_account_affords(new_caller: NewCaller, path: str) -> None:
    poor = await new_caller(credit=1_000 * 600)
    reply = await poor.request("POST", path, json=body_for(path, 16_000))
    assert reply.status == 200
    assert 256 <= int(reply.headers["x-output-limit"]) < 1_000


@pytest.mark.parametrize(("limit", "status"), [(256, 402), (16_000, 402), (100, 200)])
async def test_it_is_never_lowered_below_256_or_what_was_asked(new_caller: NewCaller, limit: int, status: int) -> None:
    poor = await new_caller(credit=200 * 600)
    assert (await poor.request("POST", NATIVE, json=body_for(NATIVE, limit))).status == status


async def test_wishes_of_a_coding_agent_are_left_out_and_named(caller: Caller) -> None:
    turns = [
        {"role": "user", "content": told(calls=0)},
        {"role": "system", "content": [{"type": "text", "text": "# Environment", "cache_control": MARK}]},
    ]
    async with client_of(caller) as client:
        raw = await client.beta.messages.with_raw_response.create(
            **asked("", **NEW_MODELS_BODY) | {"messages": turns}, timeout=60
        )
    assert raw.headers["x-output-limit"] == "16384"
    assert set(raw.headers["x-ignored"].split(", ")) == {
        "tools[].defer_loading",
        "context_management",
        "output_config.effort",
        "thinking",
    }


async def test_a_stream_names_what_was_left_out_in_its_headers(caller: Caller) -> None:
    fields = {"stream": True, "verbosity": "low", "reasoning_effort": "high", "min_p": 0.1, "temperature": 1}
    reply = await caller.request("POST", f"{COMPLETIONS}?beta=true&trace=1", json=asking(told(), **fields))
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert reply.headers["x-ignored"] == "min_p, verbosity, ?trace, reasoning_effort"


async def test_names_of_what_was_left_out_are_escaped_and_end_after_a_kilobyte(caller: Caller) -> None:
    reply = await caller.request("POST", COMPLETIONS, json=asking(told(), **{"a, b\n\u00e9": 1}))
    assert reply.headers["x-ignored"] == "a%2C%20b%0A%C3%A9"
    many = {f"field_{number}": 1 for number in range(500)}
    reply = await caller.request("POST", COMPLETIONS, json=asking(told(), **many))
    assert reply.status == 200
    assert len(reply.headers["x-ignored"]) <= 1_024
    assert reply.headers["x-ignored"].endswith(", ...")


async def test_a_repeat_names_the_same(caller: Caller) -> None:
    for _ in range(2):
        reply = await caller.request(
            "POST", COMPLETIONS, json=asking(told(), verbosity="low", top_k=5), headers={"Idempotency-Key": "once"}
        )
        assert (reply.status, reply.headers["x-ignored"]) == (200, "verbosity, top_k")
    assert reply.headers["Idempotent-Replayed"] == "true"


async def test_a_strict_key_has_what_would_be_left_out_refused(new_caller: NewCaller) -> None:
    strict = await new_caller(rules=KeyRules(strict=True))
    async with AsyncOpenAI(base_url=strict.url("/v1"), api_key=strict.key) as client:
        for named, fields in WISHES.items():
            with pytest.raises(openai.BadRequestError, match=f"`{named}`.*strict"):
                await client.chat.completions.create(**asking(told(), **fields))
        assert await client.chat.completions.create(**asking(told(), top_p=1))


async def test_the_default_of_a_model_that_takes_no_other_sampling_may_be_asked_for(caller: Caller) -> None:
    body = asking(told(), temperature=1, top_p=1) | {"model": "openai-o1"}
    reply = await caller.request("POST", COMPLETIONS, json=body)
    assert (reply.status, reply.headers.get("x-ignored")) == (200, None)


async def test_an_effort_is_done_at_the_nearest_that_the_model_has(caller: Caller) -> None:
    body = asking(told(), reasoning_effort="max") | {"model": "openai-o3-mini"}
    reply = await caller.request("POST", COMPLETIONS, json=body)
    assert (reply.status, reply.headers.get("x-ignored")) == (200, None)
    native = await caller.chat(told(), model="openai-o3-mini", reasoning_effort="max")
    assert (native.status, native.error["code"]) == (400, "invalid_request")
    assert "low, medium, high" in native.error["message"]
    assert (await caller.chat(told(), model="openai-o3-mini", reasoning_effort="low")).status == 200


async def test_tokens_are_counted_by_estimate_and_for_nothing(caller: Caller) -> None:
    text = "How many tokens has this?"
    async with client_of(caller) as client:
        raw = await client.messages.with_raw_response.count_tokens(
            model=MODEL,
            messages=[{"role": "user", "content": text}],
            thinking={"type": "adaptive"},
            extra_query={"beta": "true", "trace": "1"},
        )
        assert raw.headers["x-token-count"] == "estimate"
        assert raw.headers["x-ignored"] == "?trace, thinking"
        assert abs((await raw.parse()).input_tokens - prompt_tokens([text])) < 20
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.count_tokens(model="no-model", messages=[{"role": "user", "content": text}])
    assert (await caller.wallet())["held_usd"] == "0"


async def test_anthropics_older_word_for_a_schema_is_the_same(caller: Caller) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    async with AsyncAnthropic(base_url=caller.url(""), api_key=caller.key) as client:
        answer = await client.messages.create(
            **asked(told()), extra_body={"output_format": {"type": "json_schema", "schema": schema}}
        )
    assert answer.content[0].to_dict()["text"] == '{"name": "text"}'
