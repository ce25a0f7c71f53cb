"""Tool use in any vendor's form: the tools that a request offers, the results that it has, and the calls or the JSON of
an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from deploy.simulator.answer import CallText, Piece, answer
from deploy.simulator.plans import Turn
from deploy.simulator.schema import example
from deploy.simulator.script import Script

CHARACTERS = 6
"""Characters of JSON, of a result or of a plan's text per token."""
RESULT_CHARACTERS_MAX = 2_000
AWKWARD_TEXT = 'text 🙂 漢字 "quoted\\" e\u0301 \u2028 \U0001d4b3'
ANY_JSON: dict[str, Any] = {}
"""The schema of an answer that may be any JSON object: `{"answer": …}`."""


class Offer(msgspec.Struct, frozen=True):
    """A tool on offer; `schema` is that of its arguments."""

    name: str
    schema: dict[str, Any] = {}


class AskedTools(msgspec.Struct, frozen=True, kw_only=True):
    """A request's tools. `only` names the tool that must be called; `result` is the last tool result."""

    offers: tuple[Offer, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    only: str | None = None
    parallel: bool = True
    result: str | None = None
    schema: dict[str, Any] | None = None
    """The schema of the answer, if it must be JSON."""


def pieces(model: str, message: str, script: Script, asked: AskedTools, turn: Turn | None = None) -> list[Piece]:
    """The pieces of the answer before any limit: text and calls, JSON, a word on the tool's result, or plain text.

    `turn` is that of the script's plan, None where there is no plan or it is over. A call that must follow a result is one of
    the last tool on offer: the tool that ends a loop stands there, and a model would not call the first one for ever.
    """
    if turn is not None and can_play(turn, asked):
        calls = (_call(i, call.name, written(call.arguments)) for i, call in enumerate(turn.calls))
        return [*_cut(turn.text), *(piece for call in calls for piece in call)]
    if count := wanted(asked, script):
        preface = answer(model, message, msgspec.structs.replace(script, tokens=script.preface))
        offers = callable_offers(asked) if asked.result is None else callable_offers(asked)[::-1]
        return [*preface, *(piece for i in range(count) for piece in call_pieces(i, offers, script))]
    plain = [*answer(model, message, script), *_cut(_missing(turn, asked))]
    if asked.schema is not None:
        return list[Piece](_cut(json_answer("".join(plain), asked.schema, script)))
    if asked.result is not None:
        return [*plain, " The tool said:", *_cut(f" {asked.result[:RESULT_CHARACTERS_MAX]}")]
    return list[Piece](plain)


def can_play(turn: Turn, asked: AskedTools) -> bool:
    """True if a request leaves room for a planned turn: for its calls, or for its text if it makes none."""
    if not turn.calls:
        return asked.only is None and (asked.schema is None or (asked.schema == ANY_JSON and _is_object(turn.text)))
    return {call.name for call in turn.calls} <= callable_names(asked)


def wanted(asked: AskedTools, script: Script) -> int:
    """The number of calls to make beside a plan's: one of what is on offer, or the script's; none after a result.

    With a plan only a call that the request insists on by name is made beside it.
    """
    if not asked.offers or asked.choice == "none":
        return 0
    forced = asked.choice == "required" or asked.only is not None
    if (asked.result is not None and not forced) or (script.plan and asked.only is None):
        return 0
    count = 1 if script.calls < 0 else script.calls
    return min(count, 1) if not asked.parallel else count


def callable_names(asked: AskedTools) -> set[str]:
    """List the names of the tools that may be called."""
    return set() if asked.choice == "none" else {offer.name for offer in callable_offers(asked)}


def callable_offers(asked: AskedTools) -> list[Offer]:
    """List the offers that may be called."""
    return [offer for offer in asked.offers if asked.only in {None, offer.name}]


def call_pieces(index: int, offers: list[Offer], script: Script) -> Iterator[CallText]:
    """One call; calls take the tools in turn."""
    offer = offers[index % len(offers)]
    return _call(index, offer.name, arguments(offer, script))


def arguments(offer: Offer, script: Script) -> str:
    """Write the arguments of a call as JSON."""
    return written(example({"type": "object", **offer.schema}, AWKWARD_TEXT if script.unicode else "text"))


def json_answer(text: str, schema: dict[str, Any], script: Script) -> str:
    """Write an answer that is to be JSON."""
    return written(example(schema, AWKWARD_TEXT if script.unicode else "text") if schema else {"answer": text})


def written(value: object) -> str:
    """Write JSON as the models do: characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call as an object, for a vendor that sends one; if a limit cut them off, they are lost."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _call(index: int, name: str, text: str) -> Iterator[CallText]:
    """One call, its name first, `text` being its arguments."""
    parts = _cut(text)
    yield CallText(index, "", name, ends=not parts)
    for position, part in enumerate(parts, start=1):
        yield CallText(index, part, ends=position == len(parts))


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False


def _missing(turn: Turn | None, asked: AskedTools) -> str:
    """Say which tools a plan wants in vain, to whoever wrote it; a request without tools is no mistake of the plan."""
    if turn is None or not asked.offers:
        return ""
    names = {call.name for call in turn.calls} - {offer.name for offer in asked.offers}
    return f" The plan's tools that are not on offer: {', '.join(sorted(names))}." if names else ""


def _cut(text: str) -> list[str]:
    return [text[at : at + CHARACTERS] for at in range(0, len(text), CHARACTERS)]
