"""Converts Anthropic's turns into the project's own messages. Neighbouring turns of one role are joined, results of tools
become messages of their own in front of the rest, and what no model here takes is left out and named, or refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from api.formats.anthropic.body import AssistantTurn, SystemTurn, Turn, UserTurn
from api.formats.anthropic.content import (
    Base64Source,
    CompactionBlock,
    ContentSource,
    DocumentBlock,
    FileSource,
    ImageBlock,
    OnlyTextBlock,
    PlainTextSource,
    RedactedThinkingBlock,
    SearchResultBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
)
from api.formats.cache_marks import CacheControl, end_mark, marked_at_end, marks_of
from shared.chat import CacheMark, ImagePart, ImageUrl, Message, Part, TextPart, ToolCall
from shared.errors import InvalidRequest
from shared.thoughts import Thought

BLOCKS = "messages[].content[]"
DIRECT = "direct"
ROLES: dict[type[Turn], str] = {UserTurn: "user", AssistantTurn: "assistant", SystemTurn: "system"}
Shown = TextBlock | OnlyTextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock


class Place(msgspec.Struct, frozen=True, gc=False):
    """The place of a block in the body, for error messages: `messages[2].content[0]`, `messages[2].content` for a plain
    text, `messages[2].content[0].content[1]` for a part of a result.
    """

    turn: int
    block: int | None = None
    part: int | None = None

    def __str__(self) -> str:
        block = "" if self.block is None else f"[{self.block}]"
        part = "" if self.part is None else f".content[{self.part}]"
        return f"messages[{self.turn}].content{block}{part}"


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A block and its place."""

    where: Place
    block: Any


class Said(msgspec.Struct):
    """Neighbouring turns of one role, joined. `where` is the place of the first turn in the body."""

    role: str
    where: Place
    blocks: list[Placed]

    def calls(self) -> list[ToolUseBlock]:
        """The turn's tool calls, in order."""
        return [placed.block for placed in self.blocks if isinstance(placed.block, ToolUseBlock)]

    def results(self) -> list[Placed]:
        """The turn's tool results, with their places."""
        return [placed for placed in self.blocks if isinstance(placed.block, ToolResultBlock)]


def neutral_messages(
    system: str | list[OnlyTextBlock] | None, turns: Sequence[Turn]
) -> tuple[list[Message], list[str]]:
    """All messages, the system prompt first, and the names of what was left out. Raises `InvalidRequest` if a call and its
    result do not match, if nothing is left, and for content that no model takes.
    """
    left_out: list[str] = []
    talk = joined(turns)
    check_results(talk)
    instructions = _instructions(system or "")
    messages = [message for said in talk for message in _messages(said, left_out)]
    if not messages:
        raise InvalidRequest("`messages` has thoughts and blank answers only: it needs a message of the user.")
    return [*instructions, *messages], left_out


def joined(turns: Sequence[Turn]) -> list[Said]:
    """Join neighbouring turns of one role. Instructions between a call and its result are moved behind the result, because
    vendors require the result right after the call.
    """
    talk: list[Said] = []
    held: list[Said] = []
    for position, turn in enumerate(turns):
        said = _said(position, turn)
        last = talk[-1] if talk else None
        if last and said.role == last.role:
            last.blocks += said.blocks
        elif last and said.role == "system" and (held or last.calls()):  # `held` is checked first because it is cheaper
            held.append(said)
        else:
            if last and last.role == "user":
                talk += held
                held = []
            talk.append(said)
    return [*talk, *held]


def check_results(talk: Sequence[Said]) -> None:
    """Check that every `tool_use` is answered once, in the very next turn, and nothing else is. Raises `InvalidRequest`."""
    asked: set[str] = set()
    before: Place | None = None
    for said in talk:
        for placed in said.results():
            call_id = placed.block.tool_use_id
            if call_id not in asked:
                raise InvalidRequest(
                    f"`{placed.where}`: the tool_result of {call_id} answers no open tool_use of the message before it."
                )
            asked.remove(call_id)
        _refuse_unanswered(asked, before)
        ids = [call.id for call in said.calls()]
        asked, before = set(ids), said.where
        if len(asked) != len(ids):
            raise InvalidRequest(f"`{said.where}`: two tool_use blocks have the same id.")
    _refuse_unanswered(asked, before)


def _refuse_unanswered(asked: set[str], where: Place | None) -> None:
    if asked:
        raise InvalidRequest(
            f"`{where}`: the tool_use {', '.join(sorted(asked))[:200]} has no tool_result in the next message."
        )


def _said(position: int, turn: Turn) -> Said:
    where = Place(position)
    content = turn.content
    if isinstance(content, str):
        return Said(ROLES[type(turn)], where, [Placed(where, TextBlock(text=content))])
    return Said(ROLES[type(turn)], where, [Placed(Place(position, i), block) for i, block in enumerate(content)])


def _messages(said: Said, left_out: list[str]) -> Iterator[Message]:
    turn = _Turn()
    for placed in said.blocks:
        match placed.block:
            case ToolResultBlock() as result:
                yield _result_message(placed.where, result, left_out)
            case ThinkingBlock() | RedactedThinkingBlock() as block:
                turn.think(block)
            case ServerToolUseBlock(kind=kind):
                left_out.append(f"{BLOCKS}.{kind}")
            case ToolUseBlock() as use:
                turn.call(_call(use, left_out), use.cache_control)
            case CompactionBlock(content=summary):
                turn.say(TextPart(summary) if summary else None, placed.block.cache_control)
            case block:
                turn.say(_part(placed.where, block), _control_of(block))
    if said.role == "assistant" and turn.is_blank():
        left_out += [f"{BLOCKS}.thinking"] * turn.has_thoughts()
        return  # the answer consisted only of thoughts
    if message := turn.message(said.role):
        yield message


class _Turn:
    """The content of one turn without the results of tools."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._calls: list[ToolCall] = []
        self._thoughts: list[Thought] = []
        self._part_marks: list[CacheMark] = []
        self._call_marks: list[CacheMark] = []

    def say(self, part: Part | None, mark: CacheControl | None) -> None:
        self._parts += [part] if part else []
        if mark and self._parts:
            self._part_marks.append(end_mark(len(self._parts), mark))

    def call(self, call: ToolCall, mark: CacheControl | None) -> None:
        self._calls.append(call)
        if mark:
            self._call_marks.append(end_mark(len(self._calls), mark))

    def think(self, block: ThinkingBlock | RedactedThinkingBlock) -> None:
        """Add a thought, with its place behind what precedes it in the turn."""
        after_text = sum(len(part.text) for part in self._parts if isinstance(part, TextPart))
        if isinstance(block, RedactedThinkingBlock):
            thought = Thought("", block.data or "", redacted=True)
        else:
            thought = Thought(block.thinking or "", block.signature or "")
        place = {"after_text": after_text, "after_calls": len(self._calls)}
        self._thoughts.append(msgspec.structs.replace(thought, **place))

    def is_blank(self) -> bool:
        return not self._calls and not any(isinstance(part, TextPart) and part.text for part in self._parts)

    def has_thoughts(self) -> bool:
        return bool(self._thoughts)

    def message(self, role: str) -> Message | None:
        """The message. Calls come after all parts, of which there is at least one."""
        if not self._parts and not self._calls:
            return None
        before = len(self._parts) or 1
        marks = (*self._part_marks, *(CacheMark(before + mark.place, mark.long) for mark in self._call_marks))
        return Message(
            role,  # type: ignore[arg-type]
            _content(self._parts),
            tuple(self._calls),
            cache_marks=marks,
            thoughts=tuple(self._thoughts),
        )


def _control_of(block: Shown) -> CacheControl | None:
    """The mark of a block, otherwise the last mark inside it."""
    inside = [one.cache_control for one in block.content] if isinstance(block, SearchResultBlock) else []
    return block.cache_control or next(filter(None, reversed(inside)), None)


def _call(use: ToolUseBlock, left_out: list[str]) -> ToolCall:
    """The call. A call that was made by a tool of Anthropic's counts as any other call."""
    if use.caller and use.caller.type != DIRECT:
        left_out.append(f"{BLOCKS}.caller")
    written = use.input if isinstance(use.input, str) else msgspec.json.encode(use.input or {}).decode()
    return ToolCall(use.id, use.name, written)


def _result_message(where: Place, result: ToolResultBlock, left_out: list[str]) -> Message:
    inside = [_control_of(part) for part in result.content] if isinstance(result.content, list) else []
    mark = result.cache_control or next(filter(None, reversed(inside)), None)
    message = Message("tool", _result(where, result, left_out), tool_call_id=result.tool_use_id)
    return marked_at_end(message, mark)


def _result(where: Place, result: ToolResultBlock, left_out: list[str]) -> str | list[Part]:
    """The content of a tool's result. Vendors have no field for `is_error`, so only the text tells them of a failure."""
    if result.is_error:
        left_out.append(f"{BLOCKS}.is_error")
    if result.content is None or isinstance(result.content, str):
        return result.content or ""
    parts = (_part(Place(where.turn, where.block, number), part) for number, part in enumerate(result.content))
    return _content(list(parts))


def _part(where: Place, block: Shown) -> Part:
    match block:
        case TextBlock(text=text) | OnlyTextBlock(text=text) | ToolReferenceBlock(tool_name=text):
            return TextPart(text)
        case DocumentBlock():
            return TextPart("\n\n".join(filter(None, (block.title, block.context, _document_text(where, block)))))
        case SearchResultBlock(source=source, title=title, content=found):
            return TextPart("\n\n".join(filter(None, (title, source, *(text.text for text in found)))))
        case ImageBlock():
            return _image(where, block)


def _image(where: Place, image: ImageBlock) -> ImagePart:
    if not isinstance(image.source, Base64Source):
        raise _not_fetched(where, "an image", image.source)
    return ImagePart(ImageUrl(f"data:{image.source.media_type};base64,{image.source.data}"))


def _document_text(where: Place, document: DocumentBlock) -> str:
    match document.source:
        case PlainTextSource(data=data):
            return data
        case ContentSource(content=content):
            return content if isinstance(content, str) else "\n\n".join(block.text for block in content)
        case Base64Source(media_type=kind):
            raise InvalidRequest(
                f"`{where}` is a document of type {kind[:100]!r}, and no model here takes one: send its text."
            )
        case UrlSource() | FileSource() as source:
            raise _not_fetched(where, "a document", source)


def _not_fetched(where: Place, what: str, source: UrlSource | FileSource) -> InvalidRequest:
    given = "an address" if isinstance(source, UrlSource) else "the id of a file"
    return InvalidRequest(f"`{where}` gives {given} for {what}, and nothing is fetched here: send it in the body.")


def _instructions(content: str | list[OnlyTextBlock]) -> list[Message]:
    """The instructions as messages; none if they are empty."""
    if isinstance(content, str):
        return [Message("system", content)] if content else []
    said = _content([TextPart(block.text) for block in content])
    return [Message("system", said, cache_marks=marks_of(content))] if said else []


def _content(parts: list[Part]) -> str | list[Part]:
    """The parts. A single text, or nothing, becomes a plain string, which every vendor takes."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return parts
