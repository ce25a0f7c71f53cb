"""What the vendors of the 111 models would refuse for certain, as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.catalogue.faults import first_fault
from shared.catalogue.models import Model, load_catalogue
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import ImagePart, ImageUrl, JsonAnswer, Message, Sampling, TextPart, Tool, ToolCall, Tools

CATALOGUE = load_catalogue()
HELLO = [Message("user", "Hello")]
BLANK = Message("user", " \n")
SAID = Message("assistant", "Yes.")
CALLED = Message("assistant", "", tool_calls=(ToolCall("a", "clock", "{}"),))
ANSWERED = Message("tool", "", tool_call_id="a")
MODELS = list(CATALOGUE)
by_name = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def kind(model: Model) -> str:
    """By whose rules it goes."""
    if model.api != "bedrock-converse":
        return "jurassic" if "ai21.j2" in model.vendor_model else model.api
    return "claude" if model.company == "Anthropic" else "mistral" if "mistral" in model.vendor_model else model.api


TEMPERATURE = {"bedrock-converse": 1, "claude": 1, "mistral": 1, "jurassic": 1}
STOPS = {
    "openai-chat": 4,
    "deepseek-chat": 16,
    "gemini": 5,
    "mistral": 10,
    "jurassic": 1,
    "bedrock-invoke": 4,
}
LOOSE = {"openai-chat", "deepseek-chat", "openai-realtime"}
CONVERSE = {"bedrock-converse", "claude", "mistral"}


def fault(model: Model, *messages: Message, tools: tuple[Tool, ...] = (), **sampling: Any) -> str | None:
    found = first_fault(model, messages or HELLO, Sampling(**sampling), Tools(offered=tools))
    return f"{found.option}{found.place}" if found else None


@by_name
def test_temperature_ends_where_the_vendor_ends_it(model: Model) -> None:
    most = TEMPERATURE.get(kind(model), 2)
    assert fault(model, temperature=most) is None
    assert fault(model, temperature=0) is None
    assert fault(model, temperature=most + 0.01) == "temperature"


@by_name
def test_top_p_is_more_than_0_where_the_vendor_says_so(model: Model) -> None:
    assert fault(model, top_p=0) == ("top_p" if model.api == "deepseek-chat" else None)
    assert fault(model, top_p=0.01) is None


@by_name
def test_stop_sequences_are_as_many_as_the_vendor_takes(model: Model) -> None:
    most = STOPS.get(kind(model))
    stops = tuple(f"stop {number}" for number in range((most or 16) + 1))
    assert fault(model, stop=stops[:-1]) is None
    assert fault(model, stop=stops) == ("stop" if most else None)


@by_name
def test_a_blank_stop_sequence_is_refused_where_claude_refuses_it(model: Model) -> None:
    assert fault(model, stop=("\n\n",)) == ("stop[0]" if kind(model) == "claude" else None)


@by_name
def test_turns_are_as_the_vendor_wants_them(model: Model) -> None:
    strict = kind(model) not in LOOSE
    converse = kind(model) in CONVERSE
    instructed = Message("system", "Be brief.")
    assert fault(model, instructed, *HELLO, Message("assistant", ""), *HELLO) is None
    assert fault(model, *HELLO, Message("assistant", "")) is None
    assert fault(model, *HELLO, BLANK) is None
    assert fault(model, BLANK) == ("messages" if strict else None)
    folds = model.system_prompt == "fold"
    assert fault(model, instructed) == ("messages" if strict and not folds else None)
    assert fault(model, *HELLO, SAID, BLANK) == ("messages[2].content" if strict else None)
    assert fault(model, SAID, *HELLO) == ("messages[0]" if converse else None)
    assert fault(model, *HELLO, SAID) == ("messages[1]" if converse and not model.prefill else None)
    if model.tools:
        first_called = converse or model.api == "gemini"
        assert fault(model, CALLED, ANSWERED, *HELLO) == ("messages[0]" if first_called else None)
        assert fault(model, *HELLO, CALLED, ANSWERED) is None


def picture(label: str, data: str) -> Message:
    return Message("user", [TextPart("Look."), ImagePart(ImageUrl(f"data:image/{label};base64,{data}"))])


GIF, JPEG = "R0lGODdhAQABAIAAAP", "/9j/4AAQSkZJRgABAQEASABIAAD"


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("anthropic-claude-haiku-4-5", 100),
        ("anthropic-claude-3-haiku", 100),
        ("anthropic-claude-sonnet-4-6", 600),
        ("anthropic-claude-opus-5", 600),
        ("google-gemini-3.8-flash", 3_600),
    ],
)
def test_a_request_has_as_many_images_as_its_model_takes(name: str, most: int) -> None:
    image = ImagePart(ImageUrl("data:image/png;base64,iVBORw0KGgoAAAAN"))
    model = CATALOGUE.find(name)
    assert first_fault(model, [Message("user", [image] * most)]) is None
    fault = first_fault(model, [Message("user", [image] * most), SAID, Message("user", [image])])
    assert fault is not None
    assert (fault.option, fault.reason) == ("messages", f"has {most + 1} images: {name} takes {most} in a request")


@pytest.mark.parametrize("model", [m for m in MODELS if m.image_tokens], ids=lambda model: model.name)
def test_images_are_of_a_kind_and_a_size_that_the_vendor_takes(model: Model) -> None:
    gif = None if model.api != "gemini" else "messages[1].content"
    assert fault(model, *HELLO, picture("gif", "AAAA")) == gif
    assert fault(model, *HELLO, picture("png", GIF)) == gif
    assert fault(model, *HELLO, picture("jpg", "AAAA")) is None
    assert fault(model, *HELLO, picture("gif", JPEG)) is None
    most = vendor_limits(model).image_bytes_max
    large = None if most is None else "messages[0].content"
    assert fault(model, picture("png", "A" * (5 * 1024 * 1024))) is None
    assert fault(model, picture("png", "A" * (5 * 1024 * 1024 + 4))) == large


@pytest.mark.parametrize("model", [m for m in MODELS if m.tools], ids=lambda model: model.name)
def test_the_arguments_of_a_tool_are_an_object(model: Model) -> None:
    places = {"type": "object", "properties": {"place": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    objects: list[dict[str, Any] | None] = [None, {}, {"type": "object"}, {"properties": {}}, places]
    for schema in objects:
        assert fault(model, tools=(Tool(name="clock", parameters=schema),)) is None
    named = {"$ref": "#/$defs/Args", "$defs": {"Args": places}}
    assert fault(model, tools=(Tool(name="clock", parameters=named),)) is None
    others: list[dict[str, Any]] = [{"type": "string"}, {"type": ["object", "null"]}]
    for schema in others:
        assert fault(model, tools=(Tool(name="clock", parameters=schema),)) == "tools"
    either = {"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    refused = kind(model) in {"openai-chat", "claude"}
    assert fault(model, tools=(Tool(name="clock", parameters=either),)) == ("tools" if refused else None)


@by_name
def test_an_answer_in_json_is_asked_for_in_words_where_the_vendor_wants_that(model: Model) -> None:
    wanted = model.json_mode and model.api in {"openai-chat", "deepseek-chat"}
    assert fault(model, json_answer=JsonAnswer()) == ("json_answer" if wanted else None)
    assert fault(model, Message("system", "In JSON."), *HELLO, json_answer=JsonAnswer()) is None
    schema = {"type": "object", "properties": {}, "anyOf": [{}]}
    assert fault(model, json_answer=JsonAnswer(schema={"type": "object", "properties": {}})) is None
    in_a_mode = model.api == "openai-chat" and model.json_mode
    assert fault(model, json_answer=JsonAnswer(schema=schema)) == ("json_schema" if in_a_mode else None)


def test_newer_claudes_take_a_temperature_or_a_top_p() -> None:
    known = CATALOGUE.find("anthropic-claude-3-haiku")
    newer = msgspec.structs.replace(known, vendor_model="us.anthropic.claude-haiku-4-5-20251001-v1:0")
    assert fault(newer, temperature=0.5, top_p=0.5) == "top_p"
    assert fault(newer, top_p=0.5) is None
    assert fault(known, temperature=0.5, top_p=0.5) is None


FROM_16 = ("openai-gpt-6", "moonshot-kimi-k3.1", "xai-grok-4.7")


@by_name
def test_an_output_limit_below_the_vendors_least_is_refused(model: Model) -> None:
    least = 16 if model.api == "bedrock-converse" and model.name.startswith(FROM_16) else 1
    for limit in (None, least, 1_000):
        assert first_fault(model, HELLO, max_tokens=limit) is None
    found = first_fault(model, HELLO, max_tokens=least - 1)
    assert (found and (found.option, found.reason)) == (
        "max_tokens",
        f"is {least - 1}: {model.name} takes {least} at least",
    )


def test_nothing_is_known_of_a_vendor_at_an_address_of_the_operators() -> None:
    own = msgspec.structs.replace(CATALOGUE.find("openai-gpt-4o"), base_url="http://vllm", key_variable="KEY")
    assert fault(own, stop=tuple("abcdefgh"), json_answer=JsonAnswer()) is None


def test_what_is_wrong_is_said_with_what_would_be_right() -> None:
    found = first_fault(CATALOGUE.find("amazon-nova-lite"), HELLO, Sampling(temperature=1.2))
    assert found
    assert found.reason == "is 1.2: amazon-nova-lite takes 0 to 1"
