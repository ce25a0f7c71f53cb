"""A chat request in the project's own types: messages, tools and sampling options. Every API's form is converted into these
types, and every vendor's request is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

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
        """True if at least one tool's arguments must follow its schema."""
        return any(tool.strict for tool in self.offered)

    def may_be_called(self) -> bool:
        """True if the answer may hold calls."""
        return bool(self.offered) and not (self.choice and self.choice.mode == "none")

    def must_be_called(self) -> bool:
        """True if the answer has to be a call."""
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
        """True if the caller gets the thoughts, or their signatures."""
        return self.shows_thoughts or self.signs_thoughts


NO_TOOLS = Tools()


class Chat(msgspec.Struct, frozen=True):
    """The question to a model, of whichever vendor: the messages, the options for the answer, and the tools."""

    messages: Sequence[Message]
    sampling: Sampling = Sampling()
    tools: Tools = NO_TOOLS
