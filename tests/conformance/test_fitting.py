"""Names, ids, numbers of tools and images in results that a vendor does not take as they are."""

from __future__ import annotations

from deploy.simulator.answer import IMAGE_TOKENS
from shared.catalogue.abilities import tools_max
from shared.chat import (
    NO_TOOLS,
    ImagePart,
    ImageUrl,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Tools,
)
from shared.errors import ProviderRejected
from tests.conformance.cases import CATALOGUE, Case, Vendors, over, promise
from tests.conformance.offers import OFFERED, TOOLED, WEATHER

SEERS = (
    "anthropic-claude-3-haiku",
    "anthropic-claude-opus-5",
    "meta-llama3-2-11b",
    "openai-gpt-6-luna-bedrock",
    "openai-gpt-5.5",
    "deepseek-flash",
    "google-gemini-3.8-flash",
)
SEEING = [case for case in TOOLED if case.model.image_tokens]
SEEING += [Case(name, CATALOGUE.find(name), stream=False) for name in SEERS]
LONG = f"mcp__server__{'x' * 110}"


@promise("names and ids of any length and form reach the vendor, and names come back")
@over(*TOOLED)
async def test_long_names_and_ids(vendors: Vendors, case: Case) -> None:
    awkward = ("files.read", "files:read", "files/read", "2nd-try", LONG, f"{LONG}y")
    tools = Tools(offered=tuple(Tool(name=name, parameters=WEATHER.parameters) for name in awkward))
    ids = ("functions.read:0", "call_" + "x" * 100, "call_" + "x" * 101)
    after = (
        Message(
            "assistant",
            "",
            tool_calls=tuple(ToolCall(one, name, "{}") for one, name in zip(ids, awkward, strict=False)),
        ),
        *(Message("tool", f"result {place}", tool_call_id=one) for place, one in enumerate(ids)),
    )
    got = await vendors.ask(case, f"calls={len(awkward)}", tools=tools)
    assert (got.error, got.finished) == (None, ["tool_calls"])
    assert [call.name for call in got.tool_calls] == list(awkward)
    answered = await vendors.ask(case, "tokens=3", tools=tools, after=after)
    assert (answered.error, answered.finished) == (None, ["stop"])
    named = Tools(offered=tools.offered, choice=ToolChoice("named", LONG))
    assert [call.name for call in (await vendors.ask(case, "", tools=named, after=after)).tool_calls] == [LONG]


@promise("as many tools as the vendor takes are offered")
@over(*TOOLED)
async def test_many_tools(vendors: Vendors, case: Case) -> None:
    most = tools_max(case.model, Sampling(), NO_TOOLS) or 512
    offered = tuple(Tool(name=f"tool_{place}") for place in range(most + 1))
    got = await vendors.ask(case, "", tools=Tools(offered=offered[:-1], choice=ToolChoice("named", offered[-2].name)))
    assert [call.name for call in got.tool_calls] == [f"tool_{most - 1}"]
    if tools_max(case.model, Sampling(), NO_TOOLS):
        assert type((await vendors.ask(case, "", tools=Tools(offered=offered))).error) is ProviderRejected


@promise("images in the results of tools reach the vendor")
@over(*SEEING)
async def test_images_in_results(vendors: Vendors, case: Case) -> None:
    picture = ImagePart(ImageUrl("data:image/png;base64,AAAA"))
    calls = (ToolCall("call_1", "clock", "{}"), ToolCall("call_2", "get_weather", "{}"))

    def talk(*content: TextPart | ImagePart) -> tuple[Message, ...]:
        return (
            Message("user", "Look."),
            Message("assistant", "", tool_calls=calls),
            Message("tool", [TextPart("seen"), *content], tool_call_id="call_1"),
            Message("tool", list(content) or "", tool_call_id="call_2"),
        )

    blind = await vendors.ask(case, "calls=0 tokens=3", messages=talk(), tools=OFFERED)
    got = await vendors.ask(case, "calls=0 tokens=3", messages=talk(picture), tools=OFFERED)
    assert (got.error, got.finished) == (None, ["stop"])
    assert got.call.prompt_tokens > blind.call.prompt_tokens + IMAGE_TOKENS  # both of them
    plain = await vendors.ask(case, "tokens=3", messages=talk(picture))
    assert (plain.error, plain.finished) == (None, ["stop"])
