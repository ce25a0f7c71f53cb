"""The vendors' caches of prompts: what they keep, for how long, for whom, and which hints for them are refused."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from deploy.simulator.answer import Hit
from deploy.simulator.app import Running
from deploy.simulator.bedrock.caching import policy_of
from deploy.simulator.bedrock.models import MODELS
from deploy.simulator.caching import LONG_S, SHORT_S, Piece, PromptCache, rest
from deploy.simulator.openai.caching import AT_MARKS, DEEPSEEK, IN_STEPS
from tests.simulator.test_tools import FUNCTION, USER

CLAUDE = policy_of(MODELS["anthropic.claude-sonnet-4-6"])
SONNET, HAIKU, NOVA = (
    "global.anthropic.claude-sonnet-4-6",
    "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    "amazon.nova-lite-v1:0",
)
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
LONG_POINT: dict[str, Any] = {"cachePoint": {"type": "default", "ttl": "1h"}}
HI, SPECIFIED = {"text": "hi"}, {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}


async def words_of_refusal(url: str, body: dict[str, Any]) -> str:
    """Empty when it is none."""
    headers = {"Authorization": "Bearer k"}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        document = await response.json()
        return "" if response.status == 200 else str(document.get("message") or document["error"]["message"])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> PromptCache:
    return PromptCache(clock)


def text(tokens: int, letter: str = "x", kept_s: int = 0) -> Piece:
    return Piece(letter.encode() * 4 * tokens, tokens, kept_s)


RULES, QUESTION = text(1_100, "r", SHORT_S), text(10, "q", SHORT_S)


def test_claude_writes_up_to_its_last_point_and_reads_it_the_next_time(cache: PromptCache) -> None:
    assert cache.ask(b"k", [RULES, QUESTION, text(5)], CLAUDE) == Hit(0, 1_110)
    assert cache.ask(b"k", [RULES, QUESTION, text(5)], CLAUDE) == Hit(1_110, 0)
    assert cache.ask(b"k", [RULES, text(10, "q"), text(7), text(3, "n", SHORT_S)], CLAUDE) == Hit(1_110, 10)
    assert cache.ask(b"k", [RULES, text(10, "other", SHORT_S)], CLAUDE) == Hit(1_100, 10)


def test_nobody_reads_what_another_key_wrote(cache: PromptCache) -> None:
    cache.ask(b"k", [RULES], CLAUDE)
    assert cache.ask(b"another", [RULES], CLAUDE) == Hit(0, 1_100)


def test_what_is_too_short_is_not_kept(cache: PromptCache) -> None:
    for _ in range(2):
        assert cache.ask(b"k", [text(1_023, kept_s=SHORT_S)], CLAUDE) == Hit()


def test_what_is_read_is_kept_anew_and_then_gone(cache: PromptCache, clock: Clock) -> None:
    cache.ask(b"k", [RULES], CLAUDE)
    clock.now = SHORT_S - 1
    assert cache.ask(b"k", [RULES], CLAUDE).read == 1_100
    clock.now = 2 * SHORT_S - 2
    assert cache.ask(b"k", [RULES], CLAUDE).read == 1_100
    clock.now = 3 * SHORT_S
    assert cache.ask(b"k", [RULES], CLAUDE).read == 0


def test_of_what_is_written_the_part_before_the_last_long_point_is_long(cache: PromptCache, clock: Clock) -> None:
    pieces = [text(1_100, "r", LONG_S), QUESTION]
    assert cache.ask(b"k", pieces, CLAUDE) == Hit(0, 1_110, 1_100)
    clock.now = SHORT_S + 1
    assert cache.ask(b"k", pieces, CLAUDE) == Hit(1_100, 10)


def test_claude_looks_back_twenty_blocks_and_no_further(cache: PromptCache) -> None:
    cache.ask(b"k", [RULES], CLAUDE)
    near = [text(1_100, "r"), *[text(1)] * 19, QUESTION]
    far = [text(1_100, "r"), *[text(2)] * 20, QUESTION]
    assert cache.ask(b"k", near, CLAUDE).read == 1_100
    assert cache.ask(b"k", far, CLAUDE).read == 0


@pytest.mark.parametrize(("policy", "first", "then"), [(IN_STEPS, 1_300, 1_280), (DEEPSEEK, 130, 128)])
def test_automatic_caches_read_in_steps_and_report_no_writes(
    cache: PromptCache, policy: Any, first: int, then: int
) -> None:
    assert cache.ask(b"k", [text(first)], policy) == Hit()
    assert cache.ask(b"k", [text(first), text(500, "y")], policy) == Hit(then)


def test_an_automatic_cache_keeps_nothing_short(cache: PromptCache) -> None:
    for _ in range(2):
        assert cache.ask(b"k", [text(1_023)], IN_STEPS) == Hit()


def test_marks_are_read_exactly(cache: PromptCache) -> None:
    assert cache.ask(b"k", [RULES, text(3)], AT_MARKS) == Hit(0, 1_100)
    assert cache.ask(b"k", [text(1_100, "r"), text(500, "y", SHORT_S)], AT_MARKS) == Hit(1_100, 500)


def test_a_definition_counts_as_a_message() -> None:
    assert rest(b"12345").tokens == 5


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        (SONNET, {"system": [HI, POINT]}, ""),
        (SONNET, {"system": [HI, LONG_POINT], "messages": [HI, POINT]}, ""),
        (SONNET, {"tools": [SPECIFIED, POINT], "system": [HI, POINT, HI, POINT], "messages": [HI, POINT]}, ""),
        (SONNET, {"system": [HI, POINT] * 5}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
        (SONNET, {"tools": [SPECIFIED, POINT], "system": [HI, LONG_POINT]}, "system.1.cache_control.ttl: a ttl='1h'"),
        (HAIKU, {"system": [HI, LONG_POINT]}, ""),
        (NOVA, {"system": [HI, POINT], "messages": [HI, POINT]}, ""),
        (NOVA, {"tools": [SPECIFIED, POINT]}, "#/tools/1: extraneous key [cachePoint] is not permitted"),
        (NOVA, {"system": [HI, LONG_POINT]}, "only supported for Anthropic models"),
        ("global.openai.gpt-6-luna", {"system": [HI, POINT]}, "did not allow prompt caching"),
        ("meta.llama3-1-8b-instruct-v1:0", {"messages": [HI, POINT]}, "did not allow prompt caching"),
    ],
)
async def test_which_points_converse_takes(simulator: Running, model: str, body: dict[str, Any], words: str) -> None:
    request: dict[str, Any] = {"messages": [{"role": "user", "content": body.get("messages", [HI])}]}
    request |= {"system": body["system"]} if "system" in body else {}
    request |= {"toolConfig": {"tools": body["tools"]}} if "tools" in body else {}
    found = await words_of_refusal(f"{simulator.bedrock}/model/{model}/converse", request)
    assert words in found
    assert bool(words) == bool(found)


BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        ("gpt-5.6-terra", {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"}}, ""),
        (
            "gpt-5.6-terra",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", **BREAKPOINT}]}]},
            "",
        ),
        ("gpt-5.6-terra", {"prompt_cache_options": {}, "prompt_cache_retention": "24h"}, "cannot be used together"),
        ("gpt-5.2", {"prompt_cache_key": "k", "prompt_cache_retention": "in_memory"}, ""),
        ("gpt-5.2", {"prompt_cache_options": {"mode": "explicit"}}, "'prompt_cache_options' is not supported"),
        (
            "gpt-5.2",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", **BREAKPOINT}]}]},
            "'prompt_cache_breakpoint' is not supported",
        ),
        ("gpt-5.5", {"prompt_cache_retention": "in_memory"}, "'in_memory' is not supported"),
        ("gpt-4o", {"prompt_cache_retention": "24h"}, "'prompt_cache_retention' is not supported"),
        ("gpt-4o", {"prompt_cache_key": "k" * 65}, "maximum length 64"),
        ("gpt-4o", {"prompt_cache_options": {"mode": "best"}}, "Invalid type for 'prompt_cache_options.mode'"),
    ],
)
async def test_which_hints_openai_takes(simulator: Running, model: str, more: dict[str, Any], words: str) -> None:
    body = {"model": model, "messages": [USER], **more}
    found = await words_of_refusal(f"{simulator.openai}/chat/completions", body)
    assert words in found
    assert bool(words) == bool(found)


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        ("gpt-5.6-terra", {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"}}, ""),
        (
            "gpt-5.6-terra",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", **BREAKPOINT}]}]},
            "",
        ),
        (
            "gpt-5.6-terra",
            {"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "x", **BREAKPOINT}]}]},
            "Unknown parameter: 'input[0].content[0].prompt_cache_breakpoint'",
        ),
        (
            "gpt-5.5",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", **BREAKPOINT}]}]},
            "'prompt_cache_breakpoint' is not supported",
        ),
        ("gpt-5.5", {"prompt_cache_retention": "in_memory"}, "'in_memory' is not supported"),
        ("gpt-5.4", {"prompt_cache_retention": "in_memory"}, ""),
        ("gpt-5.4", {"prompt_cache_key": "k" * 65}, "maximum length 64"),
    ],
)
async def test_which_hints_openais_responses_take(
    simulator: Running, model: str, more: dict[str, Any], words: str
) -> None:
    found = await words_of_refusal(f"{simulator.openai}/responses", {"model": model, "input": "x", **more})
    assert words in found
    assert bool(words) == bool(found)


@pytest.mark.parametrize("model", ["gpt-5.6-terra", "gpt-4o"])
async def test_the_cache_is_the_vendors_and_the_script_may_pass_it_by(simulator: Running, model: str) -> None:
    async def usage(directive: str) -> tuple[int, int, int]:
        body = {
            "model": model,
            "messages": [{"role": "system", "content": "rules " * 2_000}, {"role": "user", "content": directive}],
            "tools": [FUNCTION],
            "tool_choice": "none",
        }
        body |= {"reasoning_effort": "none"} if model != "gpt-4o" else {}
        headers = {"Authorization": "Bearer k"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{simulator.openai}/chat/completions", json=body) as response,
        ):
            document = (await response.json())["usage"]
        details = document["prompt_tokens_details"]
        return document["prompt_tokens"], details["cached_tokens"], details["cache_write_tokens"]

    prompt, read, written = await usage("[[sim cache=1]]")
    assert (read, written) == (0, prompt if model == "gpt-5.6-terra" else 0)
    assert await usage("[[sim cache=1]]") == (prompt, prompt if model == "gpt-5.6-terra" else prompt // 128 * 128, 0)
    assert (await usage("[[sim cache=0]]"))[1:] == (0, 0)
    assert (await usage("[[sim cache=1 cached=5]]"))[1:] == (5, 0)
