"""Names and ids of tools that a vendor does not take as they are."""

from __future__ import annotations

from shared.chat import Message, Tool, ToolCall, ToolChoice, Tools
from tests.conformance.cases import Case, Vendors, over, promise
from tests.conformance.test_tools import TOOLED, WEATHER

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
