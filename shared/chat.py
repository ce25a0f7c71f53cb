"""A chat request in the project's own types: messages, tools and sampling options. Every API's form is converted into these
types, and every vendor's request is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from shared.money import divide_up
from shared.thoughts import Thought

Role = Literal["system", "developer", "user", "assistant", "tool"]
INSTRUCTIONS = ("system", "developer")
"""Roles that carry the application's instructions."""
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""The efforts from least to most; `none` means no thinking at all."""
CacheRetention = Literal["in_memory", "24h"]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
TopK = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
StopSequence = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
MESSAGES_CEILING, TOOLS_CEILING = 50_000, 4_096
"""The most messages and the most tools of a body, whatever an operator allows. A body with more is refused before its
entries are decoded.
"""
TOKENS_PER_MESSAGE_BOUND = 8
"""The most tokens that a vendor's chat template adds to one message."""
TOKENS_PER_TOOL_BOUND, TOKENS_FOR_TOOLS_BOUND = 64, 1_024
"""The most tokens that a template adds to one tool's definition, or to a call and its result; and the most that hidden
instructions for tools or for an answer's schema take. Anthropic documents 159 to 530 tokens of these
(docs.claude.com/en/docs/agents-and-tools/tool-use, read 2026-11). A name that a vendor does not take grows by at most 10
bytes, an id by 16 (`workers/providers/wire/identifiers.py`).
"""
TOKENS_PER_RESULT_BOUND = 96
"""The most tokens of a tool result beside its text: if calls are sent as text, the tool's name is repeated in the
result.
"""
BYTES_PER_TOKEN = 4
"""Average UTF-8 bytes per token: about right for Latin, Chinese, Japanese and Korean text."""
TEMPLATE_TOKENS_PER_MESSAGE = 4
TYPICAL_IMAGE_TOKENS = 1_600
"""Estimated tokens of one image if no vendor counted it; a row's bound may be a hundred times as much."""
TOKENS_FOR_RESULT_IMAGES_BOUND = 128
"""The most tokens, without the call's id, of the text that introduces images which are sent beside a tool's result
(`workers/providers/wire/result_images.py`).
"""

WHOLE_ANSWER = "whole_answer"
"""The only argument of `answer_tool` if the answer is wrapped; an answer is unlikely to have a property of this name."""
_ALTERNATIVES = {"anyOf", "oneOf", "allOf", "$ref"}
"""Keywords that vendors refuse at the root of a tool's schema."""
_DEFINITIONS = ("$defs", "definitions")
_REFERENCE = re.compile(rb'"\$ref":"#(?!/\$defs/|/definitions/)')


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text", tag_field="type"):
    """A text part of a message, `{"type": "text", "text"}`."""

    text: str
    """The text of the part."""


class ImageUrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image as a `data:` URL. Nothing is fetched."""

    url: str
    """The image, `data:image/png;base64,…`; other addresses are refused. The formats and sizes that a model takes
    depend on its vendor.
    """


class ImagePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image_url", tag_field="type"):
    """An image part of a message, `{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}`."""

    image_url: ImageUrl
    """The image as a `data:` URL."""


Part = TextPart | ImagePart


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of a tool by the model."""

    id: str
    """The id of the call."""
    name: str
    """The tool's name."""
    arguments: str
    """The arguments, as the JSON text that the model wrote; it may be invalid."""
    signature: str | None = None
    """The signature of the thought before the call, which Gemini wants back; null if there is none."""


class CallPiece(msgspec.Struct, frozen=True, tag="t", array_like=True):
    """A piece of the tool call with this `index`. The first piece of a call has its `id`, `name` and `signature`. The
    vendor sent it in `pieces` pieces; each counts as at least one token.
    """

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    pieces: int = 1
    signature: str | None = None


class CacheMark(msgspec.Struct, frozen=True, array_like=True):
    """A wish that the vendor's cache keeps a request up to an entry. Entries are counted from 0: a message's parts and
    then its calls, or the tools.
    """

    place: int
    """The number of the last entry that is kept. A message's entries are its parts (a plain text is one part), then its
    calls; those of tools are the tools.
    """
    long: bool = False
    """True if the cache is to keep it for an hour or more, false for some minutes."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of the conversation."""

    role: Role
    """The author of the turn: `user`, `assistant` (the model), `system` or `developer` for instructions, or `tool` for
    a tool's result.
    """
    content: str | list[Part]
    """The turn as a text, or as a list of text and image parts."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tool calls of an assistant's turn."""
    tool_call_id: str | None = None
    """The id of the call that has this result, in a message of role `tool`; null otherwise."""
    cache_marks: tuple[CacheMark, ...] = ()
    """The cache marks of the message: wishes for the vendor's cache."""
    thoughts: tuple[Thought, ...] = ()
    """The thoughts of the model in an assistant's turn."""

    def text(self) -> str:
        """The text parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    def images(self) -> list[ImagePart]:
        """The image parts, in order."""
        return [] if isinstance(self.content, str) else [part for part in self.content if isinstance(part, ImagePart)]

    def bytes_in(self) -> int:
        """UTF-8 bytes of everything but the images."""
        calls = sum(len(call.id) + len(call.name.encode()) + len(call.arguments.encode()) for call in self.tool_calls)
        signed = sum(len(call.signature or "") for call in self.tool_calls)
        thought = sum(thought.bytes_in() for thought in self.thoughts)
        return len(self.text().encode()) + calls + signed + thought + len((self.tool_call_id or "").encode())


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call. `parameters` is a JSON Schema of its arguments, None if it has none."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """The choice of tools: the model may, must not or must call one; with `named`, the tool that it must call."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that the model is offered, and the rules for calling them. None leaves the vendor's default."""

    offered: tuple[Tool, ...] = ()
    choice: ToolChoice | None = None
    parallel: bool | None = None
    cache_marks: tuple[CacheMark, ...] = ()

    def are_strict(self) -> bool:
        """Whether at least one tool's arguments must follow its schema."""
        return any(tool.strict for tool in self.offered)

    def may_be_called(self) -> bool:
        """Whether the answer may hold calls."""
        return bool(self.offered) and not (self.choice and self.choice.mode == "none")

    def must_be_called(self) -> bool:
        """Whether the answer has to be a call."""
        return bool(self.offered) and self.choice is not None and self.choice.mode in {"required", "named"}


class JsonAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer must be JSON: any object, or one that follows `schema`."""

    name: str = "answer"
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Caching(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """OpenAI's cache options besides marks. `key` is shared by requests with the same beginning; with `explicit` only
    what is marked is written; `retention` is the longest time for which the vendor keeps it.
    """

    key: str | None = None
    explicit: bool = False
    retention: CacheRetention | None = None


NO_CACHING = Caching()


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a request besides messages and tools; None leaves the vendor's default. `user` is the caller's
    name for its user. `thinking_budget` is the most tokens of thoughts, for vendors that count them; an effort is given
    beside it. With `shows_thoughts` the caller gets the text of the thoughts, with `signs_thoughts` the signatures with
    which thoughts can be sent back.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: ReasoningEffort | None = None
    json_answer: JsonAnswer | None = None
    user: str | None = None
    caching: Caching = NO_CACHING
    thinking_budget: int | None = None
    shows_thoughts: bool = False
    signs_thoughts: bool = False

    @property
    def hands_thoughts_on(self) -> bool:
        """Whether the caller gets the thoughts, or their signatures."""
        return self.shows_thoughts or self.signs_thoughts


NO_TOOLS = Tools()


def input_bound(
    messages: Sequence[Message], tokens_per_image: int, tools: Tools = NO_TOOLS, json_answer: JsonAnswer | None = None
) -> int:
    """An upper bound of the input tokens: no tokenizer makes more tokens of a text than the text has UTF-8 bytes. An
    answer's schema counts as a tool, because some models are given it as one.
    """
    talk = sum(
        message.bytes_in() + TOKENS_PER_MESSAGE_BOUND + len(message.images()) * tokens_per_image for message in messages
    )
    talk += sum(TOKENS_PER_TOOL_BOUND * len(message.tool_calls) for message in messages)
    talk += sum(TOKENS_PER_RESULT_BOUND for message in messages if message.role == "tool")
    shown = [len(message.tool_call_id or "") for message in messages if message.role == "tool" and message.images()]
    talk += sum(shown) + len(shown) * (TOKENS_PER_MESSAGE_BOUND + TOKENS_FOR_RESULT_IMAGES_BOUND)
    sent = (*tools.offered, answer_tool(json_answer)) if json_answer else tools.offered
    if not sent:
        return talk
    return talk + len(msgspec.json.encode(sent)) + len(sent) * TOKENS_PER_TOOL_BOUND + TOKENS_FOR_TOOLS_BOUND


def estimated_input(
    messages: Sequence[Message], tokens_per_image: int, tools: Tools = NO_TOOLS, json_answer: JsonAnswer | None = None
) -> int:
    """An estimate of the input tokens, at least 1, for calls that no vendor has counted."""
    text = sum(message.bytes_in() for message in messages) + bytes_of_tools(tools, json_answer)
    images = sum(len(message.images()) for message in messages) * min(tokens_per_image, TYPICAL_IMAGE_TOKENS)
    return max(1, divide_up(text, BYTES_PER_TOKEN) + TEMPLATE_TOKENS_PER_MESSAGE * len(messages) + images)


def bytes_of_tools(tools: Tools, json_answer: JsonAnswer | None) -> int:
    """Bytes of the definitions as JSON; 0 when there are none."""
    offered = len(msgspec.json.encode(tools.offered)) if tools.offered else 0
    return offered + (len(msgspec.json.encode(json_answer)) if json_answer else 0)


def answer_tool(answer: JsonAnswer) -> Tool:
    """A tool whose arguments are the answer, for models that can be held to JSON in no other way. If `is_wrapped`, the
    answer is its only argument.
    """
    schema = answer.schema or {"type": "object", "additionalProperties": True}
    return Tool(
        name=answer.name,
        description=answer.description or "Gives the answer to the user. Call it to answer.",
        parameters=_wrapped(schema) if is_wrapped(answer) else schema,
        strict=answer.strict,
    )


def is_wrapped(answer: JsonAnswer) -> bool:
    """Whether the answer has to be wrapped in an argument. The arguments of a call are an object with named properties,
    and a model that is asked for any object calls the tool with an empty one (github.com/BerriAI/litellm/pull/35218,
    read 2026-11).
    """
    schema = answer.schema or {}
    return schema.get("type") != "object" or not schema.get("properties") or not _ALTERNATIVES.isdisjoint(schema)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """An object with the schema as its property. Definitions stay at the root; other references are changed to point into
    the property.
    """
    moved = _REFERENCE.sub(rb'"$ref":"#/properties/%s' % WHOLE_ANSWER.encode(), msgspec.json.encode(schema))
    inner: dict[str, Any] = msgspec.json.decode(moved)
    definitions = {name: inner.pop(name) for name in _DEFINITIONS if name in inner}
    wrapper = {"type": "object", "properties": {WHOLE_ANSWER: inner}, "required": [WHOLE_ANSWER]}
    return {**wrapper, "additionalProperties": False, **definitions}


def joined_calls(pieces: Iterable[CallPiece]) -> tuple[ToolCall, ...]:
    """The whole calls, in the order of their indexes."""
    named: dict[int, tuple[str, str, str | None]] = {}
    arguments: dict[int, list[str]] = {}
    for piece in pieces:
        call_id, name, signature = named.get(piece.index, ("", "", None))
        named[piece.index] = piece.id or call_id, piece.name or name, piece.signature or signature
        arguments.setdefault(piece.index, []).append(piece.arguments)
    told = ((*named[index], "".join(arguments[index])) for index in sorted(named))
    return tuple(ToolCall(call_id, name, written, signature) for call_id, name, signature, written in told)
