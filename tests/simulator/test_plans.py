"""Plans: whose turn it is, what a request leaves of a turn, and what is no plan."""

import codecs
import json
from typing import Any

import aiohttp
import msgspec
import pytest

from deploy.simulator import plans, tools
from deploy.simulator.answer import CallText
from deploy.simulator.app import Running
from deploy.simulator.plans import Plan, Plans, Turn
from deploy.simulator.script import Said, Script, ScriptError, from_talk
from deploy.simulator.tools import ANY_JSON, AskedTools, Offer

LOOK: dict[str, Any] = {"name": "Read", "arguments": {"file_path": "a.txt"}}
TURNS = [{"text": "I look.", "calls": [LOOK, {"name": "Run"}]}, {"text": "Done."}]


# whose turn it is


def talk(words: str) -> list[Said]:
    """What was said, from `u:text m t u`: the user, the model, a tool."""
    parts = [word.partition(":") for word in words.split(" | ")]
    return [Said({"u": "user", "m": "model", "t": "tool"}[by], text) for by, _, text in parts]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "plan", "number"),
    [
        ("u:[[sim plan=a]]", "a", 0),
        ("u:[[sim plan=a]] | m | t | t | m | t", "a", 2),
        ("u:[[sim plan=a]] | m | t | u:reminder | m | t", "a", 2),
        ("u:hi | m:ok | u:[[sim plan=a]] | m | t", "a", 1),
        ("u:[[sim plan=a]] | m:text | m | t", "a", 1),
        ("u:[[sim plan=a]] | m | t | m:{", "a", 1),
        ("u:[[sim plan=a]] | m | u:[[sim plan=b]] | m | u", "b", 1),
        ("u:[[sim plan=a]] | m | u:[[sim tokens=2]] | m | u:hi", "", 2),
        ("u:[[sim plan=a]] | m | u:[[sim tokens=2]]", "", 0),
        ("u:[[sim tokens=2]] | m | u:hi", "", 1),
        ("u:hi | m | t:[[sim plan=a]]", "", 1),
        ("u:[[sim plan=a]] | m:[[sim plan=b]] | t:[[sim plan=c]]", "a", 1),
    ],
)
def test_the_turn_follows_from_what_was_said(words: str, plan: str, number: int) -> None:
    script, found = from_talk(talk(words), Script())
    assert (script.plan, found) == (plan, number)


def test_a_default_plan_begins_with_the_talk() -> None:
    assert from_talk(talk("u:hi | m | t"), Script(plan="a")) == (Script(plan="a"), 1)


def test_where_one_call_at_a_time_is_asked_for_each_call_is_a_turn() -> None:
    plan = msgspec.convert({"key": "k", "turns": TURNS}, Plan)
    turns = [plan.turn(number, parallel=False) for number in range(4)]
    heard = [turn and (turn.text, [call.name for call in turn.calls]) for turn in turns]
    assert heard == [("I look.", ["Read"]), ("", ["Run"]), ("Done.", []), None]


# what a request leaves of a turn


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (AskedTools(offers=(Offer("Read"),)), ["Read", "Read"]),
        (AskedTools(offers=(Offer("Read"),), choice="none"), []),
        (AskedTools(offers=(Offer("Read"), Offer("Other")), only="Other"), ["Other"]),
        (AskedTools(offers=(Offer("Read"),), choice="required"), ["Read", "Read"]),
        (AskedTools(offers=(Offer("Other"),), choice="required"), []),
        (AskedTools(offers=(Offer("Read"),), result="ten"), ["Read", "Read"]),
    ],
)
def test_a_turns_calls_keep_to_what_the_request_allows(asked: AskedTools, answer: list[str]) -> None:
    turn = msgspec.convert({"calls": [LOOK, LOOK]}, Turn)
    pieces = tools.pieces("m", "hi", Script(plan="k1"), asked, turn)
    assert [piece.name for piece in pieces if isinstance(piece, CallText) and piece.name] == answer


def test_a_turn_of_text_needs_no_tools_and_gives_way_to_json() -> None:
    spoken = [
        tools.pieces("m", "hi", Script(plan="k1"), asked, Turn("Done."))
        for asked in (AskedTools(), AskedTools(result="x"))
    ]
    assert ["".join(map(str, pieces)) for pieces in spoken] == ["Done.", "Done."]
    pieces = tools.pieces("m", "hi", Script(plan="k1"), AskedTools(schema=ANY_JSON), Turn("Done."))
    assert json.loads("".join(map(str, pieces)))["answer"].startswith("[simulated m]")


def test_a_turn_that_is_a_json_object_is_said_where_any_object_will_do() -> None:
    turn, form = Turn('{"name": "Oslo"}'), {"type": "object", "properties": {"town": {"type": "string"}}}
    said = [
        "".join(map(str, tools.pieces("m", "hi", Script(plan="k1"), AskedTools(schema=schema), turn)))
        for schema in (ANY_JSON, form)
    ]
    assert said == ['{"name": "Oslo"}', '{"town": "text"}']


# what is no plan


async def post(simulator: Running, body: object) -> tuple[int, dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/_plans", data=raw) as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"key":', "truncated"),
        (b'{"key": "\xff"}', "it is not in UTF-8: byte 0xff in line 1"),
        (json.dumps({"key": "k", "turns": TURNS}).encode("utf-16"), "it is in UTF-16; write it in UTF-8"),
        (b'{"key": "k", "turns": [{"calls": [{"name": "n", "arguments": {"a": ' + b"[" * 100_000, "recursion"),
        ([], "Expected `object`"),
        ({"turns": TURNS}, "missing required field `key`"),
        ({"key": "two words", "turns": TURNS}, "$.key"),
        ({"key": "", "turns": TURNS}, "$.key"),
        ({"key": "k"}, "missing required field `turns`"),
        ({"key": "k", "turns": []}, "length >= 1"),
        ({"key": "k", "turns": [{"text": "hi"}, {}]}, "a turn needs `text` or `calls` - at `$.turns[1]`"),
        ({"key": "k", "turns": [{"say": "hi"}]}, "unknown field `say`"),
        ({"key": "k", "turns": [{"calls": [{"arguments": {}}]}]}, "missing required field `name`"),
        ({"key": "k", "turns": [{"calls": [{"name": "Read", "arguments": "{}"}]}]}, "Expected `object`, got `str`"),
        ({"key": "k", "turns": [{"text": "hi"}] * (plans.TURNS_MAX + 1)}, f"length <= {plans.TURNS_MAX}"),
        ({"key": "k", "turns": [{"calls": [LOOK] * (plans.CALLS_MAX + 1)}]}, f"length <= {plans.CALLS_MAX}"),
    ],
)
async def test_a_broken_plan_is_a_400_that_says_where(simulator: Running, body: object, words: str) -> None:
    status, told = await post(simulator, body)
    assert status == 400
    assert words in told["error"]


async def test_a_plan_may_begin_with_a_byte_order_mark(simulator: Running) -> None:
    assert await post(simulator, codecs.BOM_UTF8 + json.dumps(plan("marked")).encode()) == (200, {"status": "ok"})


def plan(key: str, text: str = "hi") -> dict[str, Any]:
    return {"key": key, "turns": [{"text": text}]}


async def test_plans_are_bounded_in_number_and_bytes(simulator: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "PLANS_MAX", 2)
    statuses = [(await post(simulator, plan(key)))[0] for key in "abcab"]
    assert statuses == [200, 200, 400, 200, 200]
    monkeypatch.setattr(plans, "PLANS_BYTES_MAX", 200)
    for text in ("x" * 150, "x" * 300):  # together with the other one too many; too many by itself
        status, told = await post(simulator, plan("a", text))
        assert (status, "no room" in told["error"]) == (400, True)


def test_a_reset_forgets_posted_plans_and_restores_those_of_the_start() -> None:
    kept = Plans((msgspec.convert(plan("first"), Plan),))
    kept.add(msgspec.convert(plan("first", "changed"), Plan))
    kept.add(msgspec.convert(plan("posted"), Plan))
    kept.reset()
    assert kept.turn("first", 0, parallel=True) == Turn("hi")
    with pytest.raises(ScriptError, match="posted"):
        kept.turn("posted", 0, parallel=True)
