"""What the catalogue says that a vendor refuses is what the simulator refuses, for every row and in both directions; and what
a worker makes fit reaches the vendor.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from shared.catalogue.abilities import nearest, unavailable
from shared.catalogue.faults import first_fault
from shared.catalogue.rows import EFFORT_APIS
from shared.chat import (
    NO_TOOLS,
    ImagePart,
    ImageUrl,
    JsonAnswer,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Tools,
)
from shared.errors import InvalidRequest, OperatorCredentials
from tests.conformance.cases import CATALOGUE, Case, Vendors, promise
from tests.conformance.test_answers import PIXEL

ROWS = [Case(model.name, model, stream=False) for model in CATALOGUE]
every_row = pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
tooled_rows = pytest.mark.parametrize("case", [case for case in ROWS if case.model.tools], ids=lambda case: case.name)
Talk = tuple[Message, ...]
NOTHING = Sampling()
HELLO, SAID = Message("user", "Hello"), Message("assistant", "Yes.")
LAST = Message("user", "Hello [[sim calls=0 tokens=2]]")
LARGE = "A" * (5 * 1024 * 1024 + 4)
WIDE = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (8_000).to_bytes(4, "big") * 2).decode()
"""The beginning of a png of 62,500 patches."""


def picture(label: str, data: str) -> Talk:
    return (Message("user", [TextPart("Look."), ImagePart(ImageUrl(f"data:image/{label};base64,{data}"))]), SAID)


def called(id: str = "a", arguments: str = "{}") -> Talk:  # noqa: A002
    said = Message("assistant", "", tool_calls=(ToolCall(id, "clock", arguments),))
    return (said, Message("tool", "ten", tool_call_id=id))


def asked(
    *, before: Talk = (), after: Talk = (), schema: dict[str, Any] | None = None, **sampling: Any
) -> tuple[Talk, Talk, Sampling, Tools]:
    tools = NO_TOOLS if schema is None else Tools(offered=(Tool(name="clock", parameters=schema),))
    return before, after, Sampling(**sampling), tools


EITHER = {"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
ASKED = {
    **{f"temperature {value}": asked(temperature=value) for value in (0, 1, 1.01, 2)},
    **{f"top_p {value}": asked(top_p=value) for value in (0, 0.01, 1)},
    **{f"{count} stops": asked(stop=tuple(f"<{n}>" for n in range(count))) for count in (1, 2, 4, 5, 6, 10, 11, 16)},
    "a temperature and a top_p": asked(temperature=1, top_p=1),
    "a blank stop": asked(stop=("\n",)),
    "an assistant's first": asked(before=(SAID,)),
    "an assistant's last": asked(after=(SAID,)),
    "an assistant's last with a space": asked(after=(Message("assistant", "Yes: "),)),
    "a blank last": asked(after=(SAID, Message("user", " "))),
    "an empty answer": asked(before=(HELLO, Message("assistant", ""))),
    "a png": asked(before=picture("png", PIXEL)),
    "a jpg": asked(before=picture("jpg", "/9j/4AAQSkZJRgABAQEASABIAAD=")),
    "a gif": asked(before=picture("gif", "R0lGODdhAQABAIAAAAAA")),
    "a large image": asked(before=picture("png", LARGE)),
    "a wide image": asked(before=picture("png", WIDE)),
    "json": asked(json_answer=JsonAnswer()),
    "json in words": asked(before=(Message("system", "In JSON."),), json_answer=JsonAnswer()),
    "a schema of alternatives": asked(json_answer=JsonAnswer(schema=EITHER)),
    "a tool without a schema": asked(schema={}),
    "a tool without properties": asked(schema={"type": "object"}),
    "a tool of alternatives": asked(schema=EITHER),
    "a tool that is a string": asked(schema={"type": "string"}),
    "a call first": asked(before=called()),
    "two of the user": asked(before=(HELLO,)),
    "two of the assistant": asked(before=(HELLO, SAID, SAID)),
}


@promise("what is refused before anything is held is what the vendor refuses, and no more")
@every_row
async def test_catalogue_and_vendor_agree(vendors: Vendors, case: Case) -> None:
    for name, (before, after, wanted, tools) in ASKED.items():
        talk = (*before, HELLO, *after)
        sees = case.model.image_tokens or not any(message.images() for message in before)
        served = case.serving(wanted, tools)
        if not sees or unavailable(served.model, wanted, tools, talk) is not None:
            continue
        sampling, _ = nearest(served.model, wanted, ())
        fault = first_fault(served.model, talk, sampling, tools)
        got = await vendors.ask(served, "tokens=2", messages=before, after=after, sampling=sampling, tools=tools)
        assert type(got.error) is (InvalidRequest if fault else type(None)), (name, fault, got.error)


@promise("an output limit is as small as the vendor takes")
@every_row
async def test_least_output_limit(vendors: Vendors, case: Case) -> None:
    for limit in (1, 15, 16):
        fault = first_fault(case.model, (HELLO,), max_tokens=limit)
        got = await vendors.ask(case, "tokens=1", output_limit=limit)
        assert (got.error is None) is (fault is None), (limit, got.error)


OFFERED = Tools(offered=(Tool(name="clock"),))
LACKED: dict[str, tuple[Sampling, Tools]] = {
    "temperature": (Sampling(temperature=0.5), NO_TOOLS),
    "top_p": (Sampling(top_p=0.5), NO_TOOLS),
    "stop": (Sampling(stop=("x",)), NO_TOOLS),
    "tools": (NOTHING, OFFERED),
    "required": (NOTHING, Tools(offered=OFFERED.offered, choice=ToolChoice("required"))),
    "named": (NOTHING, Tools(offered=OFFERED.offered, choice=ToolChoice("named", "clock"))),
    **{
        f"effort {effort}": (Sampling(reasoning_effort=effort), NO_TOOLS)
        for effort in ("none", "minimal", "low", "xhigh")
    },
    "effort beside tools": (Sampling(reasoning_effort="low"), OFFERED),
    "effort beside a temperature": (Sampling(reasoning_effort="low", temperature=0.5), NO_TOOLS),
}
UNSAID = {"openai-realtime": {"temperature", "top_p", "stop"}}
"""What has no word in the protocol is not sent."""


SAMPLING = {"temperature", "top_p", "effort beside a temperature"}


def is_ignored(case: Case, name: str) -> bool:
    """What the vendor takes and does nothing with is refused here, because the answer would be another one than asked for."""
    without_effort = name.startswith("effort") and (case.api not in EFFORT_APIS or not case.model.reasoning_efforts)
    without_effort |= name.startswith("effort") and has_no_word(case, name)
    ignores_sampling = case.api in {"gemini", "deepseek-chat"} and name in SAMPLING
    return without_effort or ignores_sampling or name in UNSAID.get(case.api, ())


def has_no_word(case: Case, name: str) -> bool:
    """Of an effort: where tokens are counted instead, where the vendor does with the nearest by itself, and where not to
    think is told in other words.
    """
    counted = any(part in case.model.vendor_model for part in ("claude-haiku-4-5", "gemini-2.5"))
    told_otherwise = name == "effort none" and (case.api == "gemini" or case.model.company == "Anthropic")
    return counted or told_otherwise or case.api == "deepseek-chat"


@promise("what a model is said to lack its vendor refuses")
@every_row
async def test_what_a_model_lacks_is_refused(vendors: Vendors, case: Case) -> None:
    for name, (sampling, tools) in LACKED.items():
        served = case.serving(sampling, tools)
        lacking = unavailable(served.model, sampling, tools, [HELLO])
        if is_ignored(case, name) or lacking is None:
            continue
        got = await vendors.ask(served, "tokens=2", sampling=sampling, tools=tools)
        assert got.error is not None, (name, lacking)


async def test_bare_ids_of_profiles_are_the_operators_fault(vendors: Vendors) -> None:
    model = CATALOGUE.find("anthropic-claude-opus-5")
    bare = msgspec.structs.replace(model, vendor_model="anthropic.claude-opus-5")
    got = await vendors.ask(Case("bare", bare, stream=False), "tokens=2")
    assert isinstance(got.error, OperatorCredentials)


@promise("options that are wishes reach the vendor at the nearest value that it takes")
@every_row
async def test_wishes_are_within_range(vendors: Vendors, case: Case) -> None:
    wanted = Sampling(top_k=100_000, seed=2**40, frequency_penalty=2, presence_penalty=-2)
    sampling, lacking = nearest(case.model, wanted, ("top_k", "seed", "frequency_penalty", "presence_penalty"))
    assert ("seed" in lacking) is (case.api != "openai-chat")
    got = await vendors.ask(case, "tokens=2", sampling=sampling)
    assert got.error is None


@promise("a history that another service wrote reaches the vendor")
@tooled_rows
async def test_foreign_histories(vendors: Vendors, case: Case) -> None:
    tools = Tools(offered=(Tool(name="clock", parameters={"description": "None."}),))
    schema = '{"$ref": "#/$defs/Spot", "$defs": {"Spot": {"type": "object"}}}'
    histories: dict[str, Talk] = {
        "ids of another form": (*called("functions.get:0"), SAID, HELLO, *called("call_x|fc_y"), SAID, LAST),
        "ids that are empty or very long": (
            *called(""),
            *called(""),
            SAID,
            HELLO,
            *called("call_" + "x/+" * 2_000),
            LAST,
        ),
        "ids that come again": (*called("call_0"), *called("call_0"), SAID, HELLO, *called("call_0"), SAID, LAST),
        "an object with a reference": (called()[0], Message("tool", schema, tool_call_id="a")),
        "an empty answer in between": (*called(), Message("assistant", ""), LAST),
        "parts of text": (
            called()[0],
            Message("tool", [TextPart("te"), TextPart("n")], tool_call_id="a"),
            Message("assistant", [TextPart("It is "), TextPart("ten.")]),
            Message("user", [TextPart("And "), TextPart(LAST.text())]),
        ),
        **{f"arguments {text!r}": called(arguments=text) for text in ("", " ", "null", '"{}"', '{"a": "b', "[1]")},
    }
    served = case.serving(NOTHING, tools)
    instructed = (Message("system", [TextPart("Be brief."), TextPart("Be kind.")]),)
    for name, after in histories.items():
        got = await vendors.ask(served, "calls=0 tokens=2", messages=instructed, after=after, tools=tools)
        assert (got.error, got.finished) == (None, ["stop"]), name
    references = {"description": "Where.", "$ref": "#/$defs/spot"}
    spot = {"type": "object", "properties": {"x": {"type": "number"}}}
    schema_of = {"type": "object", "properties": {"near": references}, "$defs": {"spot": spot}}
    for parameters in (schema_of, {"$ref": "#/$defs/spot", "$defs": {"spot": spot}}):
        offered = Tools(offered=(Tool(name="clock", parameters=parameters),))
        got = await vendors.ask(served, "", tools=offered)
        assert (got.error, got.finished) == (None, ["tool_calls"]), parameters
