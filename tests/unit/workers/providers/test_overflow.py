"""The numbers in what vendors say of a prompt that is too long; the texts are the vendors' own."""

from __future__ import annotations

import pytest

from shared.overflow import Overflow
from workers.providers.wire.overflow import too_long


@pytest.mark.parametrize(
    ("prose", "tokens", "tokens_max", "tokens_output"),
    [
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130123 tokens. Please",
            130_123,
            128_000,
            0,
        ),
        (
            "maximum context length is 8192 tokens. However, you requested 9001 tokens (4905 in it, 4096 in the completion)",
            9_001,
            8_192,
            4_096,
        ),
        (
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
            300_000,
            272_000,
            0,
        ),
        ("prompt is too long: 210000 tokens > 200000 maximum", 210_000, 200_000, 0),
        (
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000, decrease input length",
            203_096,
            200_000,
            4_096,
        ),
        ("Too many input tokens. Max input tokens: 8192, request input token count: 9000 ", 9_000, 8_192, 0),
        (
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. Try a shorter prompt",
            5_000,
            4_081,
            0,
        ),
        (
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
            1_196_265,
            1_048_575,
            0,
        ),
    ],
)
def test_the_vendors_count_is_read_and_none_of_its_words(
    prose: str, tokens: int, tokens_max: int, tokens_output: int
) -> None:
    error = too_long(f"{prose} You said: hush")
    expected = Overflow(tokens=tokens, tokens_max=tokens_max, tokens_output=tokens_output)
    assert Overflow.told_by(error.body()) == expected
    assert error.message == expected.message


@pytest.mark.parametrize(
    "prose",
    [
        "Input is too long for requested model.",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the prompt",
        "prompt is too long: 100 tokens > 200000 maximum",
        "prompt is too long: 99999999999999999999 tokens > 1 maximum",
        "",
    ],
)
def test_without_numbers_that_make_sense_there_are_none(prose: str) -> None:
    assert Overflow.told_by(too_long(prose).body()) is None
