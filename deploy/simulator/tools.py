"""Tool use in any vendor's words: what a request offers and answers, and the calls or the JSON that an answer is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from deploy.simulator.answer import CallText, Piece, answer
from deploy.simulator.schema import example
from deploy.simulator.script import Script

CHARACTERS = 6
"""Of JSON in one token."""
RESULT_CHARACTERS_MAX = 2_000
AWKWARD_TEXT = 'text 🙂 漢字 "quoted\\" e\u0301 \u2028 \U0001d4b3'
ANY_JSON: dict[str, Any] = {}
"""The schema of an answer that may be any JSON object: `{"answer": …}`."""


class Offer(msgspec.Struct, frozen=True):
    """A tool on offer; `schema` is that of its arguments."""

    name: str
    schema: dict[str, Any] = {}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of tools. `only` names the one that must be called; `result` is what a tool said last of all."""

    offers: tuple[Offer, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    only: str | None = None
    parallel: bool = True
    result: str | None = None
    schema: dict[str, Any] | None = None
    """Of the answer, where it is to be JSON."""


def pieces(model: str, message: str, script: Script, asked: Asked) -> list[Piece]:
    """Give the pieces of the answer before any limit: text and calls, JSON, a word on the tool's result, or plain text."""
    if calls := wanted(asked, script):
        preface = answer(model, message, msgspec.structs.replace(script, tokens=script.preface))
        return [*preface, *(piece for i in range(calls) for piece in call_pieces(i, callable_offers(asked), script))]
    plain = answer(model, message, script)
    if asked.schema is not None:
        return list[Piece](_cut(json_answer("".join(plain), asked.schema, script)))
    if asked.result is not None:
        return [*plain, " The tool said:", *_cut(f" {asked.result[:RESULT_CHARACTERS_MAX]}")]
    return list[Piece](plain)


def wanted(asked: Asked, script: Script) -> int:
    """Give the number of calls to make: none after a tool's result, one of what is on offer otherwise, or the script's."""
    if not asked.offers or asked.choice == "none":
        return 0
    forced = asked.choice == "required" or asked.only is not None
    if asked.result is not None and not forced:
        return 0
    count = 1 if script.calls < 0 else script.calls
    return min(count, 1) if not asked.parallel else count


def callable_offers(asked: Asked) -> list[Offer]:
    """List the offers that may be called."""
    return [offer for offer in asked.offers if asked.only in {None, offer.name}]


def call_pieces(index: int, offers: list[Offer], script: Script) -> Iterator[CallText]:
    """Say one call, its name first; calls take the tools in turn."""
    offer = offers[index % len(offers)]
    parts = _cut(arguments(offer, script))
    yield CallText(index, "", offer.name, ends=not parts)
    for position, part in enumerate(parts, start=1):
        yield CallText(index, part, ends=position == len(parts))


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
    """Read the arguments of a call for a vendor that sends them as an object; what a limit cut off is lost with the rest."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _cut(text: str) -> list[str]:
    return [text[at : at + CHARACTERS] for at in range(0, len(text), CHARACTERS)]
