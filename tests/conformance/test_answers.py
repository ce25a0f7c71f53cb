"""What a healthy vendor says arrives whole, with its tokens and its end."""

from __future__ import annotations

import base64

import pytest

from deploy.simulator.answer import IMAGE_TOKENS
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import ImagePart, ImageUrl, Message, Sampling, TextPart
from shared.money import Usage
from tests.conformance.cases import CASES, Case, Vendors, cut_after, expected, of, over, promise, streaming

PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
SEEING = [case for case in CASES if case.model.image_tokens]
STOPPABLE = [case for case in CASES if case.model.stop]
CACHING = {"openai-chat", "openai-responses", "openai-realtime", "deepseek-chat", "bedrock-converse", "gemini"}
WRITING = {"openai-chat", "openai-responses", "bedrock-converse"}
KEEPING_LONGER = {"openai-responses", "bedrock-converse"}
REASONING = {"openai-chat", "openai-responses", "deepseek-chat", "gemini"}


@promise("text is intact in any chunking")
@over()
@pytest.mark.parametrize("how", ["", "split=1", "surrogate=1", "split=1 surrogate=1 size=3000", "pace_ms=1"])
async def test_text_is_intact(vendors: Vendors, case: Case, how: str) -> None:
    directive = f"tokens=45 unicode=1 {how}"
    got = await vendors.ask(case, directive)
    assert got.error is None
    assert got.text == expected(case, directive, got.call.key)
    assert got.finished == ["stop"]


@promise("an empty answer is an answer")
@over()
async def test_empty_answer(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=0")
    assert (got.error, got.text, got.finished) == (None, "", ["stop"])


@promise("text comes while the vendor still writes")
@streaming()
async def test_text_comes_at_once(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=10 pace_ms=30")
    assert len(got.texts) > 3  # what comes together may be handed on together


@promise("tokens are the vendor's: cached in the input, reasoning in the output")
@over()
async def test_usage_is_the_vendors(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 cached=2 reasoning=3")
    cached = 2 if case.api in CACHING else 0
    reasoning = 3 if case.api in REASONING else 0
    assert got.reported[-1] == Usage(got.call.prompt_tokens, 12, cached, reasoning)


@promise("tokens written to a cache are in the input, with how many of them are kept longer")
@over()
async def test_usage_of_what_is_written_to_a_cache(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 cached=2 written=5 written_long=4")
    cached = 2 if case.api in CACHING else 0
    written = 5 if case.api in WRITING else 0
    kept_longer = 4 if case.api in KEEPING_LONGER else 0
    told = Usage(got.call.prompt_tokens, 9, cached, written=written, written_long=kept_longer)
    assert got.reported[-1] == told


@promise("tokens that contradict each other are passed on as told, for the ledger to judge")
@over()
async def test_usage_contradictory(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 usage=contradictory")
    told = got.reported[-1]
    assert told is not None
    assert (told.input, told.output) == (got.call.prompt_tokens, 9)
    assert told.adds_up() == (case.api not in CACHING)


@promise("tokens that are not told are not invented")
@over()
async def test_usage_missing(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 usage=missing")
    assert got.error is None
    assert got.reported[-1] is None


@promise("absurd tokens are passed on as told, for the ledger to judge")
@over()
@pytest.mark.parametrize("usage", ["wrong", "zero", "negative", "huge"])
async def test_usage_absurd(vendors: Vendors, case: Case, usage: str) -> None:
    got = await vendors.ask(case, f"tokens=9 usage={usage}")
    told = got.reported[-1]
    prompt, output = got.call.prompt_tokens, got.call.output_tokens
    lies = {"wrong": (prompt * 3 + 1_000, output * 5 + 1_000), "zero": (0, 0), "negative": (-prompt, -output)}
    assert told is not None
    assert (told.input, told.output) == lies.get(usage, (10**15, 10**15))


@promise("tokens told inside the last choice count")
@of("deepseek-chat")
async def test_usage_inline(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 usage=inline")
    assert got.reported[-1] == Usage(got.call.prompt_tokens, 9)


@promise("the output limit reaches the vendor and ends in `length`")
@over()
async def test_output_limit(vendors: Vendors, case: Case) -> None:
    thoughts, limit = cut_after(case, 5)
    got = await vendors.ask(case, f"tokens=20 {thoughts}", output_limit=limit)
    assert got.finished == ["length"]
    assert got.text == expected(case, "tokens=5", got.call.key)
    assert got.call.output_tokens == limit


@promise("stop sequences reach the vendor")
@over(*STOPPABLE)
async def test_stop_sequences(vendors: Vendors, case: Case) -> None:
    stops = (" up", " never")[: vendor_limits(case.model).stops_max]
    sampling = Sampling(temperature=0.5, top_p=0.9, stop=stops)
    got = await vendors.ask(case, "tokens=20", sampling=sampling)
    assert (got.error, got.finished) == (None, ["stop"])
    assert got.text == expected(case, "tokens=20", got.call.key).partition(" up")[0]


@promise("images reach the vendor")
@over(*SEEING)
@pytest.mark.parametrize("label", ["png", "jpeg", "jpg", "gif", "WEBP"])
async def test_images(vendors: Vendors, case: Case, label: str) -> None:
    """Under whatever label: vendors compare it with the bytes."""
    picture = ImagePart(ImageUrl(f"data:image/{label};base64,{PIXEL}"))
    seen = Message("user", [TextPart("What is this?"), picture])
    blind = Message("user", [TextPart("What is this?")])
    reply = Message("assistant", "A dot.")
    with_image = await vendors.ask(case, "tokens=3", messages=(seen, reply))
    without = await vendors.ask(case, "tokens=3", messages=(blind, reply))
    assert with_image.error is None
    assert with_image.call.prompt_tokens == without.call.prompt_tokens + IMAGE_TOKENS


@promise("keep-alives are passed over")
@over()
async def test_keepalives(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=4 keepalive=3")
    assert got.text == expected(case, "tokens=4", got.call.key)


@promise("a conversation reaches the vendor in its order")
@over()
async def test_conversation(vendors: Vendors, case: Case) -> None:
    said = [
        ("system", "Be brief."),
        ("user", "One?"),
        ("user", "Two?"),
        ("assistant", "Three."),
        ("developer", "Rhyme."),
    ]
    got = await vendors.ask(case, "tokens=4", messages=tuple(Message(role, text) for role, text in said))  # type: ignore[arg-type]
    assert got.error is None
    assert got.text == expected(case, "tokens=4", got.call.key)


@promise("a blocked answer ends in `content_filter`")
@over(*(case for case in CASES if case.model.company != "AI21"))
async def test_blocked_answer(vendors: Vendors, case: Case) -> None:
    words = {
        "openai-chat": ("content_filter",),
        "openai-responses": ("content_filter",),
        "deepseek-chat": ("content_filter",),
        "openai-realtime": ("content_filter",),
        "bedrock-converse": ("guardrail_intervened", "content_filtered", "refusal"),
        "bedrock-invoke": ("ERROR_TOXIC",),
        "gemini": ("SAFETY", "RECITATION", "SPII", "OTHER"),
    }
    for word in words[case.api]:
        got = await vendors.ask(case, f"tokens=3 finish={word}")
        assert (got.error, got.finished) == (None, ["content_filter"])
        empty = await vendors.ask(case, f"tokens=0 finish={word}")
        assert (empty.error, empty.finished) == (None, ["content_filter"])


@promise("an unknown reason to stop is `stop`, a context window that is full `length`")
@of("openai-chat", "bedrock-converse")
async def test_other_reasons(vendors: Vendors, case: Case) -> None:
    for word, reason in (
        ("tool_calls", "stop"),
        ("some_new_word", "stop"),
        ("model_context_window_exceeded", "length"),
    ):
        if case.api == "openai-chat" and reason == "length":
            continue
        assert (await vendors.ask(case, f"tokens=3 finish={word}")).finished == [reason]


@promise("an answer that only lacks the tokens or a closing word after its end is whole")
@over(*(case for case in CASES if case.api != "openai-realtime"))
async def test_no_done(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=4 fault=no_done")
    assert (got.error, got.finished) == (None, ["stop"])
