"""A chat request in the project's own words: messages, tools, and what else a vendor may be asked. Every API's form is turned
into these, and every vendor's is made of them.
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
"""Roles of whoever built the application."""
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""From least to most; `none` is not to think at all."""
CacheRetention = Literal["in_memory", "24h"]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
TopK = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
StopSequence = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
MESSAGES_CEILING, TOOLS_CEILING = 50_000, 4_096
"""How many of them a body may have, whatever an operator allows: more are refused before they are looked at one by one."""
TOKENS_PER_MESSAGE_BOUND = 8
"""What a vendor's chat template may add to one message, at most."""
TOKENS_PER_TOOL_BOUND, TOKENS_FOR_TOOLS_BOUND = 64, 1_024
"""What it may add to one tool's definition, or to a call and its result, and for tools or an answer's schema as such: hidden
instructions, at most. Anthropic documents 159 to 530 tokens of them (docs.claude.com/en/docs/agents-and-tools/tool-use, read
2026-11). A name that a vendor does not take grows by 10 bytes at most, an id by 16 (`workers/providers/wire/identifiers.py`).
"""
TOKENS_PER_RESULT_BOUND = 96
"""What a result is more than its text: where calls are written out, its tool's name stands there once more."""
BYTES_PER_TOKEN = 4
"""UTF-8 bytes per token, in the mean: about right for Latin and for Chinese, Japanese and Korean text alike."""
TEMPLATE_TOKENS_PER_MESSAGE = 4
TYPICAL_IMAGE_TOKENS = 1_600
"""For one image, where nobody counted; a row's bound may be a hundred times as much."""
TOKENS_FOR_RESULT_IMAGES_BOUND = 128
"""What is said, without the call's id, of images in a tool's result where they are sent beside it
(`workers/providers/wire/result_images.py`).
"""

WHOLE_ANSWER = "whole_answer"
"""The only argument of `answer_tool` where the answer is wrapped; no name that an answer's own property is likely to have."""
_ALTERNATIVES = {"anyOf", "oneOf", "allOf", "$ref"}
"""What vendors refuse at the root of a tool's schema."""
_DEFINITIONS = ("$defs", "definitions")
_REFERENCE = re.compile(rb'"\$ref":"#(?!/\$defs/|/definitions/)')


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text", tag_field="type"):
    """A text part of a message, `{"type": "text", "text"}`."""

    text: str
    """The text."""


class ImageUrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The image itself, as a `data:` URL. Nothing is fetched."""

    url: str
    """`data:image/png;base64,…`; other addresses are refused. Formats and sizes are those of the model's vendor."""


class ImagePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image_url", tag_field="type"):
    """`{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}`."""

    image_url: ImageUrl
    """The image."""


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
    """What Gemini wants back of the thought before the call; null for none."""


class CallPiece(msgspec.Struct, frozen=True, tag="t", array_like=True):
    """A piece of the tool call with this `index`; the first piece of a call has its `id` and `name`, and its `signature`. The
    vendor sent it in `pieces` pieces: a token at least each.
    """

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    pieces: int = 1
    signature: str | None = None


class CacheMark(msgspec.Struct, frozen=True, array_like=True):
    """A wish that the vendor's cache keeps a request up to an entry, counted from 0: a message's parts then its calls, or
    tools.
    """

    place: int
    """The last entry that is kept: of a message its parts (a plain text is one), then its calls; of tools the tool."""
    long: bool = False
    """Whether it is kept for an hour or more; else for minutes."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of the conversation."""

    role: Role
    """Who says it."""
    content: str | list[Part]
    """A text, or a list of text and image parts."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls of an assistant's turn."""
    tool_call_id: str | None = None
    """The id of the call that a message of role `tool` answers; else null."""
    cache_marks: tuple[CacheMark, ...] = ()
    """The wishes for the vendor's cache."""
    thoughts: tuple[Thought, ...] = ()
    """What the model thought in an assistant's turn."""

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
    """A function that the model may ask for; `parameters` is a JSON Schema of its arguments, None for none."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether tools may, must not or must be asked for; `named`: the one with this `name` must."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What is on offer; None leaves the vendor's default."""

    offered: tuple[Tool, ...] = ()
    choice: ToolChoice | None = None
    parallel: bool | None = None
    cache_marks: tuple[CacheMark, ...] = ()

    def are_strict(self) -> bool:
        """Whether the arguments of one of them are to follow its schema for sure."""
        return any(tool.strict for tool in self.offered)

    def may_be_called(self) -> bool:
        """Whether the answer may hold calls."""
        return bool(self.offered) and not (self.choice and self.choice.mode == "none")

    def must_be_called(self) -> bool:
        """Whether the answer has to be a call."""
        return bool(self.offered) and self.choice is not None and self.choice.mode in {"required", "named"}


class JsonAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is to be JSON: any object, or one that follows `schema`."""

    name: str = "answer"
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Caching(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What OpenAI is told of its cache besides marks. `key`: requests with the same one begin alike; `explicit`: only what is
    marked is written; `retention`: how long anything is kept at most.
    """

    key: str | None = None
    explicit: bool = False
    retention: CacheRetention | None = None


NO_CACHING = Caching()


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a vendor is asked besides messages and tools; None leaves the vendor's default. `user` is the caller's own name
    for its user. `thinking_budget` are the tokens that are to be thought at most, where a vendor counts them; an effort is
    given beside it. `shows_thoughts` and `signs_thoughts`: whether the caller gets the text of what the model thinks, and
    what it needs to give a thought back.
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
        """Whether the caller gets anything of what the model thinks."""
        return self.shows_thoughts or self.signs_thoughts


NO_TOOLS = Tools()


def input_bound(
    messages: Sequence[Message], tokens_per_image: int, tools: Tools = NO_TOOLS, json_answer: JsonAnswer | None = None
) -> int:
    """An upper bound of the input tokens: no tokenizer makes more tokens of a text than it has UTF-8 bytes. An answer's
    schema counts as the tool that it is sent as where a model has no other way.
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
    """A guess of the input tokens, at least 1, for where no vendor has counted them."""
    text = sum(message.bytes_in() for message in messages) + bytes_of_tools(tools, json_answer)
    images = sum(len(message.images()) for message in messages) * min(tokens_per_image, TYPICAL_IMAGE_TOKENS)
    return max(1, divide_up(text, BYTES_PER_TOKEN) + TEMPLATE_TOKENS_PER_MESSAGE * len(messages) + images)


def bytes_of_tools(tools: Tools, json_answer: JsonAnswer | None) -> int:
    """Bytes of the definitions as JSON; 0 when there are none."""
    offered = len(msgspec.json.encode(tools.offered)) if tools.offered else 0
    return offered + (len(msgspec.json.encode(json_answer)) if json_answer else 0)


def answer_tool(answer: JsonAnswer) -> Tool:
    """The tool by which a model answers that has no other way to be held to JSON: its arguments are the answer, or hold it as
    their only one (`is_wrapped`).
    """
    schema = answer.schema or {"type": "object", "additionalProperties": True}
    return Tool(
        name=answer.name,
        description=answer.description or "Gives the answer to the user. Call it to answer.",
        parameters=_wrapped(schema) if is_wrapped(answer) else schema,
        strict=answer.strict,
    )


def is_wrapped(answer: JsonAnswer) -> bool:
    """Arguments are an object with named properties, and a model that is asked for just any object calls with an empty one
    (github.com/BerriAI/litellm/pull/35218, read 2026-11).
    """
    schema = answer.schema or {}
    return schema.get("type") != "object" or not schema.get("properties") or not _ALTERNATIVES.isdisjoint(schema)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """An object with the schema as its property. Definitions stay at the root, other references are led to the property."""
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
