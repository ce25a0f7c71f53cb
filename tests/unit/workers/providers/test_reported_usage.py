"""What vendors say of the tokens, in the forms that the simulator does not have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.money import Usage
from workers.providers.bedrock import converse
from workers.providers.gemini.wire import Counts
from workers.providers.openai import chat

DEEPSEEK = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
GEMINI = {"promptTokenCount": 10, "candidatesTokenCount": 5}
CONVERSE = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({}, Usage(10, 5)),
        ({"prompt_cache_hit_tokens": 4}, Usage(10, 5, cached=4)),
        ({"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}, Usage(10, 5, cached=4)),
        ({"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 10}, Usage(10, 5)),
        ({"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 7}, None),
        ({"prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 6}}, Usage(10, 5, cached=3, written=6)),
        ({"prompt_tokens_details": {"cached_tokens": None, "cache_write_tokens": None}}, Usage(10, 5)),
        ({"completion_tokens_details": {"reasoning_tokens": 2}}, Usage(10, 5, reasoning=2)),
        ({"prompt_tokens": None}, None),
    ],
)
def test_openais_details_and_deepseeks_hits_and_misses(said: dict[str, Any], usage: Usage | None) -> None:
    told = msgspec.convert(DEEPSEEK | said, chat._Usage)
    assert told.usage() == usage


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({}, Usage(10, 5)),
        ({"cachedContentTokenCount": 4, "thoughtsTokenCount": 3}, Usage(10, 8, cached=4, reasoning=3)),
        ({"toolUsePromptTokenCount": 7, "cachedContentTokenCount": 4}, Usage(17, 5, cached=4)),
        ({"toolUsePromptTokenCount": -7}, None),
    ],
)
def test_what_geminis_own_tools_found_is_input_beside_the_prompt(said: dict[str, Any], usage: Usage | None) -> None:
    told = msgspec.convert(GEMINI | said, Counts)
    assert told.usage() == usage


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({}, Usage(10, 5)),
        ({"cacheReadInputTokens": 4, "cacheWriteInputTokens": 3}, Usage(17, 5, cached=4, written=3)),
        (
            {
                "cacheWriteInputTokens": 7,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 3}, {"ttl": "5m", "inputTokens": 4}],
            },
            Usage(17, 5, written=7, written_long=3),
        ),
        (
            {
                "cacheWriteInputTokens": 7,
                "cacheDetails": [{"ttl": "30m", "inputTokens": 5}, {"ttl": "12h", "inputTokens": 2}],
            },
            Usage(17, 5, written=7, written_long=2),
        ),
    ],
)
def test_what_converse_read_and_wrote_is_input_beside_the_rest(said: dict[str, Any], usage: Usage) -> None:
    assert converse._usage({"usage": CONVERSE | said}) == usage


def test_details_of_more_than_was_written_contradict() -> None:
    told = converse._usage({"usage": CONVERSE | {"cacheDetails": [{"ttl": "1h", "inputTokens": 3}]}})
    assert told is not None
    assert not told.adds_up()
