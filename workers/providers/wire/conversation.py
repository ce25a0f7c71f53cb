"""A conversation as vendors with strict turns want it: instructions apart, user and assistant in turn, nothing blank, and
every tool call answered at the beginning of the user's next turn.

The front door refuses what cannot be made so (`shared/catalogue/turns.py`); what is refused here came by another way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from itertools import accumulate, islice, pairwise
from typing import Any

import msgspec

from shared.catalogue.turns import is_blank
from shared.chat import INSTRUCTIONS, ImagePart, Message, Part, TextPart, ToolCall
from shared.errors import InvalidRequest
from shared.json_bounds import require_bounded
from shared.thoughts import Thought, in_order
from workers.providers.protocol import ProviderRequest

NOT_AN_OBJECT = "invalid_arguments"
"""The argument that holds what is no object, as in Vercel's AI SDK (github.com/vercel/ai/issues/14442, read 2026-11)."""

NAMED_MAX = 10
"""Calls that an error names."""


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool said to a call. Images are left in it only where the vendor takes them there (`result_images.py`)."""

    call: ToolCall
    text: str
    images: tuple[ImagePart, ...] = ()


class CachePoint(msgspec.Struct, frozen=True):
    """The vendor's cache is to keep what comes before. Only where marks are asked for."""

    long: bool


Spoken = Part | ToolCall | ToolResult | Thought | CachePoint
"""A part of a turn."""


class Turn(msgspec.Struct):
    """What one side said, in parts, until the other spoke. `role` is `user` or `assistant`; a tool's result is the user's,
    thoughts are the assistant's.
    """

    role: str
    parts: list[Spoken]

    @property
    def text(self) -> str:
        """The text parts, one paragraph each."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, TextPart))


class Conversation(msgspec.Struct, frozen=True):
    """`instructions` is empty when there are none."""

    instructions: str
    turns: list[Turn]

    def has_calls(self) -> bool:
        """Whether tools were called in it."""
        return any(isinstance(part, ToolCall) for turn in self.turns for part in turn.parts)


def conversation(messages: list[Message], *, marked: bool = False) -> Conversation:
    """Neighbours of one role become one turn, and what is blank is left out: an empty answer that was sent back says nothing.
    With `marked`, marks of what is said are parts of it.

    Raises `InvalidRequest` when there is no turn, when the last one is blank, and for a call without a result or the reverse.
    """
    instructions = "\n\n".join(m.text() for m in messages if m.role in INSTRUCTIONS and m.text().strip())
    turns: list[Turn] = []
    open_calls: dict[str, ToolCall] = {}
    for message in messages:
        if message.role in INSTRUCTIONS or is_blank(message):
            continue
        role, parts = _said(message, open_calls)
        if marked and message.cache_marks:
            parts = _with_points(message, parts)
        if turns and turns[-1].role == role:
            turns[-1].parts.extend(parts)
        else:
            turns.append(Turn(role, parts))
    _check_answered(open_calls)
    if not turns or (turns[-1].role == "assistant" and messages[-1].role == "user"):
        raise InvalidRequest(
            "`messages` needs a message of the user that is not blank, and none that is blank at its end."
        )
    for before, turn in pairwise(turns):
        _put_in_order(before, turn)
    return Conversation(instructions, turns)


def arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call in the history, for vendors that take an object: what a model once wrote may not be one.

    No text means none, and so does null. An object that was written as a string is that object. Anything else, as what an
    output limit cut off, stands whole as the only argument: the model sees what it wrote, beside the result that says so.
    Raises `InvalidRequest` that names the call before it decodes too much.
    """
    text = (call.arguments.strip() or "{}").encode()
    where = f"`messages`: what the tool call {_quoted(call.id)} was made with"
    require_bounded(where, text)
    try:
        given = msgspec.json.decode(text)
        if isinstance(given, str):
            require_bounded(where, given.encode())
            given = msgspec.json.decode(given)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        given = call.arguments
    if given is None:
        return {}
    return given if isinstance(given, dict) else {NOT_AN_OBJECT: call.arguments}


def image(part: ImagePart) -> tuple[str, bytes]:
    """The kind (`png`, `jpeg`, `gif`, `webp`) and the bytes in a data URL. Raises `InvalidRequest`."""
    head, _, data = part.image_url.url.partition(",")
    try:
        return head.removeprefix("data:image/").removesuffix(";base64"), base64.b64decode(data, validate=True)
    except binascii.Error:
        raise InvalidRequest("An image in `messages` is not valid base 64.") from None


def refuse_tools(request: ProviderRequest) -> None:
    """For APIs that have no tools here. Raises `InvalidRequest` when the request has any, in its history or on offer."""
    if request.tools.offered or any(message.role == "tool" or message.tool_calls for message in request.messages):
        raise InvalidRequest(f"{request.model.name} takes no tools.")


def _said(message: Message, open_calls: dict[str, ToolCall]) -> tuple[str, list[Spoken]]:
    """The role that speaks, and its parts; keeps track of the calls that wait for their results."""
    if message.role == "tool":
        return "user", [_result(message, open_calls)]
    _check_answered(open_calls)
    open_calls |= {call.id: call for call in message.tool_calls}
    if not message.thoughts:
        return message.role, [*_parts(message), *message.tool_calls]
    blocks = in_order(message.text(), message.tool_calls, message.thoughts)
    parts: list[Spoken] = [TextPart(block) if isinstance(block, str) else block for block in blocks]
    return message.role, [part for part in parts if not isinstance(part, TextPart) or part.text.strip()]


def _with_points(message: Message, parts: list[Spoken]) -> list[Spoken]:
    """A mark stands behind its part, or where that is blank behind the one before. The result of a tool is one part."""
    if message.role == "tool":
        return [*parts, CachePoint(message.cache_marks[-1].long)]
    marks = {mark.place: CachePoint(mark.long) for mark in message.cache_marks}
    said = [message.content] if isinstance(message.content, str) else message.content
    if message.thoughts:
        return _pointed_among_thoughts(message, said, marks)
    waiting = iter(parts)
    pointed: list[Spoken] = []
    for place, entry in enumerate([*said, *message.tool_calls]):
        if not _is_blank_part(entry):
            pointed.append(next(waiting))
        _point(pointed, marks.get(place))
    return pointed


def _pointed_among_thoughts(message: Message, said: Sequence[str | Part], marks: dict[int, CachePoint]) -> list[Spoken]:
    """Text is one there, so it is cut behind each part that is marked."""
    lengths = (0 if isinstance(part, ImagePart) else len(part if isinstance(part, str) else part.text) for part in said)
    cuts = {end: marks[place] for place, end in enumerate(accumulate(lengths)) if place in marks}
    told, called = 0, len(said)
    pointed: list[Spoken] = []
    for block in in_order(message.text(), message.tool_calls, message.thoughts):
        if isinstance(block, str):
            begin, told = told, told + len(block)
            for start, end in pairwise([begin, *(cut for cut in cuts if begin < cut < told), told]):
                text = TextPart(block[start - begin : end - begin])
                pointed += [] if _is_blank_part(text) else [text]
                _point(pointed, cuts.get(end))
            continue
        pointed.append(block)
        if isinstance(block, ToolCall):
            _point(pointed, marks.get(called))
            called += 1
    return pointed


def _point(parts: list[Spoken], point: CachePoint | None) -> None:
    """Not at the beginning, not twice, and not behind a thought: none may be marked."""
    if point and parts and not isinstance(parts[-1], CachePoint | Thought):
        parts.append(point)


def _result(message: Message, open_calls: dict[str, ToolCall]) -> ToolResult:
    if (call := open_calls.pop(message.tool_call_id or "", None)) is None:
        raise InvalidRequest(
            f"`messages` has a tool's result for {_quoted(message.tool_call_id)}: no call before it waits for that."
        )
    return ToolResult(call, message.text(), tuple(message.images()))


def _put_in_order(before: Turn, turn: Turn) -> None:
    """Results as their calls are ordered, because Gemini tells two calls of one function apart by that."""
    places = {part.id: place for place, part in enumerate(before.parts) if isinstance(part, ToolCall)}
    last = len(before.parts)
    turn.parts.sort(key=lambda part: places.get(part.call.id, last) if isinstance(part, ToolResult) else last)
    turn.parts[1:] = [
        part for before, part in pairwise(turn.parts) if not isinstance(before, CachePoint) or part != before
    ]


def _check_answered(open_calls: dict[str, ToolCall]) -> None:
    if open_calls:
        missing = ", ".join(_quoted(call) for call in islice(open_calls, NAMED_MAX))
        raise InvalidRequest(f"`messages` has tool calls without a result right after them: {missing}.")


def _parts(message: Message) -> list[Part]:
    parts: list[Part] = [TextPart(message.content)] if isinstance(message.content, str) else list(message.content)
    return [part for part in parts if not _is_blank_part(part)]


def _is_blank_part(part: str | Part | ToolCall) -> bool:
    text = part.text if isinstance(part, TextPart) else part
    return isinstance(text, str) and not text.strip()


def _quoted(name: str | None) -> str:
    return repr((name or "")[:100])
