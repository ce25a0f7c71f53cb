"""A conversation in the form that vendors with strict turns require: instructions apart, user and assistant
alternating, nothing blank, and every tool call answered at the beginning of the user's next turn.

The front door refuses conversations that cannot be converted (`shared/catalogue/turns.py`); refusals here are a second
check.
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
"""The name of the argument that contains arguments which are no object, as in Vercel's AI SDK
(github.com/vercel/ai/issues/14442, read 2026-11).
"""

NAMED_MAX = 10
"""Most calls that an error names."""


class ToolResult(msgspec.Struct, frozen=True):
    """The result of a call. It contains images only if the vendor takes them there (`result_images.py`)."""

    call: ToolCall
    text: str
    images: tuple[ImagePart, ...] = ()


class CachePoint(msgspec.Struct, frozen=True):
    """A place up to which the vendor's cache should keep the request. It exists only if marks are asked for."""

    long: bool


Spoken = Part | ToolCall | ToolResult | Thought | CachePoint
"""A part of a turn."""


class Turn(msgspec.Struct):
    """Everything that one side said until the other side spoke, in parts. `role` is `user` or `assistant`; tool results
    belong to the user, thoughts to the assistant.
    """

    role: str
    parts: list[Spoken]

    @property
    def text(self) -> str:
        """The text parts, one paragraph each."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, TextPart))


class Conversation(msgspec.Struct, frozen=True):
    """Instructions and turns; `instructions` is empty if there are none."""

    instructions: str
    turns: list[Turn]

    def has_calls(self) -> bool:
        """True if the conversation has tool calls."""
        return any(isinstance(part, ToolCall) for turn in self.turns for part in turn.parts)


def conversation(messages: list[Message], *, marked: bool = False) -> Conversation:
    """Convert messages: neighbours of one role become one turn, and blank content is left out. With `marked`, cache marks
    become parts. Raises `InvalidRequest` if there is no turn, if the last one is blank, and for a call without a result or
    the reverse.
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
    """The arguments of a call in the history, for vendors that take an object. The text that a model wrote may be no
    object.

    An empty text and null mean no arguments. An object that was written as a string is taken as that object. Anything
    else, such as text that an output limit cut off, becomes the only argument, so that the model sees its own text next
    to the result. Raises `InvalidRequest`, which names the call, before too much is decoded.
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
    """The kind (`png`, `jpeg`, `gif`, `webp`) and the bytes of a data URL. Raises `InvalidRequest`."""
    head, _, data = part.image_url.url.partition(",")
    try:
        return head.removeprefix("data:image/").removesuffix(";base64"), base64.b64decode(data, validate=True)
    except binascii.Error:
        raise InvalidRequest("An image in `messages` is not valid base 64.") from None


def refuse_tools(request: ProviderRequest) -> None:
    """Raise `InvalidRequest` if the request has tools, on offer or in its history, for APIs without them."""
    if request.tools.offered or any(message.role == "tool" or message.tool_calls for message in request.messages):
        raise InvalidRequest(f"{request.model.name} takes no tools.")


def _said(message: Message, open_calls: dict[str, ToolCall]) -> tuple[str, list[Spoken]]:
    """The role of the speaker, and the parts of the message. `open_calls` tracks the calls that wait for results."""
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
    """The parts with cache points. A point comes after the marked part, or after the part before if the marked part is
    blank. A tool result is one part.
    """
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
    """The parts of an answer with thoughts. Its text is a single part, so the text is cut after each marked part."""
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
    """Add a cache point, unless it would be at the beginning, after another point, or after a thought."""
    if point and parts and not isinstance(parts[-1], CachePoint | Thought):
        parts.append(point)


def _result(message: Message, open_calls: dict[str, ToolCall]) -> ToolResult:
    if (call := open_calls.pop(message.tool_call_id or "", None)) is None:
        raise InvalidRequest(
            f"`messages` has a tool's result for {_quoted(message.tool_call_id)}: no call before it waits for that."
        )
    return ToolResult(call, message.text(), tuple(message.images()))


def _put_in_order(before: Turn, turn: Turn) -> None:
    """Put results into the order of their calls, because Gemini distinguishes two calls of one function by their order,
    and remove cache points that then stand twice in a row.
    """
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
