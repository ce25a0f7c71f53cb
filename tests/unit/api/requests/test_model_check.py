from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from api.formats.asked import Asked, Form
from api.requests.model_check import IMAGE_TOKENS_MAX, fit_to_model
from shared.catalogue.models import Model, load_catalogue
from shared.chat import NO_TOOLS, ImagePart, ImageUrl, JsonAnswer, Message, Sampling, Tool, ToolCall, Tools
from shared.errors import InvalidRequest
from shared.json_bounds import JSON_DEPTH_MAX, JSON_NODES_MAX
from shared.settings import Settings
from shared.signatures import wrapped
from shared.thoughts import Thought

CATALOGUE = load_catalogue()
SETTINGS = Settings.load({"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r"})


IMAGE = ImagePart(image_url=ImageUrl(url="data:image/png;base64,AAAA"))


def check(
    model: str,
    *messages: Message,
    tools: int = 0,
    answer: JsonAnswer | None = None,
    parameters: dict[str, Any] | None = None,
    max_tokens: int | None = None,
    known: Model | None = None,
    **sampling: Any,
) -> None:
    form = cast(Form, None)  # for answers only
    with_schema = (Tool(name="schema", parameters=parameters),) if parameters else ()
    offered = Tools(offered=(*(Tool(name=f"tool_{place}") for place in range(tools)), *with_schema))
    content = Asked(
        model=model,
        messages=list(messages),
        sampling=Sampling(json_answer=answer, **sampling),
        tools=offered,
        max_tokens=max_tokens,
        form=form,
        names={},
        body=msgspec.Struct(),
    )
    fit_to_model(content, known or CATALOGUE.find(model), SETTINGS)


def test_more_images_than_can_be_held_are_refused() -> None:
    model = CATALOGUE.find("openai-gpt-4o-mini")
    assert model.image_tokens
    most = IMAGE_TOKENS_MAX // model.image_tokens
    check(model.name, Message("user", [IMAGE] * most))
    with pytest.raises(InvalidRequest, match=f"`messages` has {most + 1} images"):
        check(model.name, Message("user", [IMAGE] * (most + 1)))


def test_users_and_tools_may_show_images_to_models_that_see() -> None:
    for role in ("user", "tool"):
        check("amazon-nova-lite", Message(role, [IMAGE]))
        with pytest.raises(InvalidRequest, match="takes none"):
            check("amazon-nova-micro", Message(role, [IMAGE]))
    with pytest.raises(InvalidRequest, match="only messages of the user and results of tools"):
        check("amazon-nova-lite", Message("assistant", [IMAGE]))


@pytest.mark.parametrize(
    ("model", "most", "answer"),
    [
        ("openai-gpt-4o", 128, None),
        ("google-gemini-2.0-flash", 512, None),
        ("anthropic-claude-3-haiku", SETTINGS.tools_max, None),
        ("deepseek-chat", 127, JsonAnswer(schema={"type": "object"})),
    ],
)
def test_more_tools_than_the_model_takes_are_refused_with_the_number(
    model: str, most: int, answer: JsonAnswer | None
) -> None:
    check(model, Message("user", "Hello"), tools=most, answer=answer)
    with pytest.raises(InvalidRequest, match=f"`tools` has {most + 1} entries: at most {most} are taken with {model}"):
        check(model, Message("user", "Hello"), tools=most + 1, answer=answer)


@pytest.mark.parametrize("schema", [{}, {"type": "array"}, {"anyOf": [{"type": "object"}]}])
def test_a_schema_without_an_object_at_its_root_is_refused_where_the_vendor_refuses_it(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match='"type": "object" at its root'):
        check("openai-gpt-4o", Message("user", "Hello"), answer=JsonAnswer(schema=schema))
    check("anthropic-claude-3-haiku", Message("user", "Hello"), answer=JsonAnswer(schema=schema))


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**77])
def test_whole_numbers_that_no_job_carries_are_refused_by_the_field_that_has_them(number: int) -> None:
    """They were noticed only when the job was packed, after its credit was held."""
    schema = {"type": "object", "properties": {"n": {"maximum": number}}}
    with pytest.raises(InvalidRequest, match="`json_schema` has a whole number beyond 64 bits"):
        check("openai-gpt-4o", Message("user", "Hello"), answer=JsonAnswer(schema=schema))
    with pytest.raises(InvalidRequest, match="`tools` has a whole number beyond 64 bits"):
        check("openai-gpt-4o", Message("user", "Hello"), parameters=schema)
    for fine in (float(number), 2**64 - 1, -(2**63)):
        schema["properties"] = {"n": {"maximum": fine}}
        check("openai-gpt-4o", Message("user", "Hello"), parameters=schema, answer=JsonAnswer(schema=schema))


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["[]," * JSON_NODES_MAX], "more than"),
        (['{"x":[' + "0," * (JSON_NODES_MAX // 3) + "0]}"] * 3, "more than"),
        (["[" * (JSON_DEPTH_MAX + 1)], "nested too deeply"),
        (['{"x":[' + "0," * (JSON_NODES_MAX // 4) + "0]}"] * 3, None),
        (['{"x":"' + "[[,{" * JSON_NODES_MAX + '"}'] * 2, None),
        (['{"cut": "off', "", "null"], None),
    ],
    ids=["one", "together", "deep", "within", "text", "no JSON"],
)
def test_arguments_of_earlier_calls_are_bounded_where_they_are_decoded(
    arguments: list[str], refused: str | None
) -> None:
    calls = tuple(ToolCall(f"c{place}", "f", text) for place, text in enumerate(arguments))
    results = (Message("tool", "x", tool_call_id=call.id) for call in calls)
    talk = [Message("user", "x"), Message("assistant", "", tool_calls=calls), *results]
    for model in ("amazon-nova-lite", "google-gemini-2.0-flash"):
        if refused:
            with pytest.raises(InvalidRequest, match=f"`messages.*arguments` (has|is) {refused}"):
                check(model, *talk)
        else:
            check(model, *talk)
    check("openai-gpt-4o", *talk)


def test_an_image_may_be_as_long_as_a_body() -> None:
    for end, fits in (("", True), ("=", True), ("===", False), ("!", False)):
        image = ImagePart(ImageUrl("data:image/png;base64," + "A" * 20_000_000 + end))
        if fits:
            check("openai-gpt-4o", Message("user", [image]))
        else:
            with pytest.raises(InvalidRequest, match="in base 64"):
                check("openai-gpt-4o", Message("user", [image]))


HELLO = Message("user", "Hello")


def test_tools_that_a_vendor_serves_elsewhere_only_are_refused_with_the_reason() -> None:
    reason = "its maker serves them elsewhere; openai-gpt-6.1-sol-bedrock takes them"
    untooled = msgspec.structs.replace(
        CATALOGUE.find("openai-gpt-6.1-sol"), tools=False, second_api=None, no_tools_because=reason
    )
    with pytest.raises(InvalidRequest) as refused:
        check("openai-gpt-6.1-sol", HELLO, tools=1, known=untooled)
    assert refused.value.message == f"`tools` is not available with openai-gpt-6.1-sol: {reason}."
    check("openai-gpt-6.1-sol-bedrock", HELLO, tools=1)


def test_what_does_not_go_with_thinking_is_refused_with_what_does() -> None:
    one_api = msgspec.structs.replace(CATALOGUE.find("openai-gpt-5.5"), second_api=None)
    with pytest.raises(
        InvalidRequest, match=r"`reasoning_effort` is not available with openai-gpt-5.5: beside tools it takes none"
    ):
        check("openai-gpt-5.5", HELLO, tools=1, reasoning_effort="high", known=one_api)
    check("openai-gpt-5.5", HELLO, tools=1, reasoning_effort="high")
    with pytest.raises(InvalidRequest, match=r"`reasoning_effort` .* it takes none, low, medium, high, xhigh"):
        check("openai-gpt-5.5", HELLO, reasoning_effort="max")
    with pytest.raises(InvalidRequest, match=r"`temperature` .* only while it does not think, so leave it out or ask"):
        check("openai-gpt-5.5", HELLO, reasoning_effort="low", temperature=0.5)
    with pytest.raises(InvalidRequest, match="`temperature` is not available with openai-gpt-6-astra: leave it out"):
        check("openai-gpt-6-astra", HELLO, temperature=0.5)
    check("openai-gpt-5.5", HELLO, temperature=0.5)


def test_an_output_limit_that_the_vendor_refuses_is_told_by_its_field() -> None:
    with pytest.raises(InvalidRequest, match="`max_tokens` is 15: openai-gpt-6-luna-bedrock takes 16 at least"):
        check("openai-gpt-6-luna-bedrock", HELLO, max_tokens=15)
    check("openai-gpt-6-luna-bedrock", HELLO, max_tokens=16)


HAIKU, GPT, CLAUDE, REASONER = (
    "anthropic-claude-haiku-4-5",
    "openai-gpt-6.1-sol",
    "anthropic-claude-opus-5",
    "deepseek-reasoner",
)
NAMED = ("messages[].thoughts",)
CLOCK = ToolCall("call_1", "clock", "{}")


def answered(model: str, *places: tuple[int, int], text: str = "", cut: bool = False) -> list[Message]:
    """A call with thoughts in these places, and its result."""
    own = CATALOGUE.find(model)
    own = msgspec.structs.replace(own, api=own.second_api or own.api)
    signature = wrapped(own, "c2ln", "Hm.")[: -1 if cut else None]
    thoughts = tuple(Thought("Hm.", signature, after_text=text, after_calls=calls) for text, calls in places)
    said = Message("assistant", text, tool_calls=(CLOCK,), thoughts=thoughts)
    return [HELLO, said, Message("tool", "ten", tool_call_id="call_1")]


@pytest.mark.parametrize(
    ("model", "talk", "max_tokens", "named"),
    [
        (HAIKU, answered(HAIKU, (0, 0)), 4_000, ()),
        (HAIKU, answered(HAIKU, (0, 0)), None, ()),
        (HAIKU, answered(HAIKU, (0, 0), cut=True), 4_000, ("effort", "thinking", *NAMED)),
        (HAIKU, answered(HAIKU, (0, 1)), 4_000, ("effort", "thinking", *NAMED)),
        (HAIKU, answered(HAIKU, (3, 0), text="So."), 4_000, ("effort", "thinking", *NAMED)),
        (HAIKU, answered(HAIKU, (0, 0), (3, 1), text="So."), 4_000, NAMED),
        (HAIKU, answered(HAIKU), 4_000, ("effort", "thinking")),
        (HAIKU, [HELLO], 1_364, ("effort", "thinking")),
        (HAIKU, [HELLO], 1_365, ()),
        (HAIKU, [HELLO, Message("assistant", "I ")], 4_000, ("effort", "thinking")),
        (CLAUDE, answered(CLAUDE, (0, 0)), 1_000, ()),
        (CLAUDE, answered(CLAUDE, (0, 1)), 1_000, NAMED),
        (GPT, answered(GPT, (0, 0)), 1_000, ()),
        (GPT, answered(GPT, (0, 0), cut=True), 1_000, NAMED),
        (GPT, answered(GPT, (0, 1)), 1_000, NAMED),
        (GPT, answered(CLAUDE, (0, 0)), 1_000, NAMED),
        (REASONER, [HELLO, Message("assistant", "Yes.", thoughts=(Thought("Hm."),)), HELLO], None, ("effort", *NAMED)),
    ],
)
def test_what_is_not_thought_or_not_given_back_is_named_or_with_a_strict_key_refused(
    model: str, talk: list[Message], max_tokens: int | None, named: tuple[str, ...]
) -> None:
    asked = Asked(
        model=model,
        messages=talk,
        sampling=Sampling(reasoning_effort="low", shows_thoughts=True, signs_thoughts=True),
        tools=Tools(offered=(Tool(name="clock"),)) if model != REASONER else NO_TOOLS,
        max_tokens=max_tokens,
        form=cast(Form, None),
        names={},
        body=msgspec.Struct(),
        tolerant=True,
        wishes={"reasoning_effort": ("effort",), "thinking": ("thinking",)},
        thoughts=NAMED,
    )
    fitted, _ = fit_to_model(asked, CATALOGUE.find(model), SETTINGS)
    assert fitted.ignored == named
    if "thinking" in named:
        assert fitted.sampling.reasoning_effort == "none"
    if named:
        with pytest.raises(InvalidRequest, match="this key is strict"):
            fit_to_model(asked, CATALOGUE.find(model), SETTINGS, strict=True)


def test_a_model_that_counts_its_thoughts_is_not_asked_to_think_without_room_where_that_is_no_wish() -> None:
    with pytest.raises(InvalidRequest, match=r"`reasoning_effort`: .* thinks with `max_tokens` of 1365 at least"):
        check(HAIKU, HELLO, max_tokens=1_364, reasoning_effort="low")
    with pytest.raises(InvalidRequest, match="cannot think while it goes on with an answer"):
        check(HAIKU, HELLO, Message("assistant", "I "), reasoning_effort="low")
    check(HAIKU, HELLO, max_tokens=1_365, reasoning_effort="low")
