"""The content of a turn in Anthropic's Messages API: blocks, and the sources of images and documents."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from api.formats.cache_marks import CacheControl
from api.formats.known_fields import KIND, OfUnknownType
from shared.json_bounds import refuse_depth
from shared.patterns import told_as

CallId = Annotated[str, msgspec.Meta(pattern=told_as("up to 16,384 visible characters of ASCII", r"^[!-~]{0,16384}\Z"))]
"""An id of any vendor or service, see `api/formats/openai/messages.py`."""
ToolName = Annotated[
    str,
    msgspec.Meta(pattern=told_as("1 to 128 letters, digits or `_.:/-`", r"^[a-zA-Z0-9_.:/-]{1,128}\Z")),
]
CalledName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""The name of a tool in an earlier call. Another service may have made the call, so nearly any name is taken."""


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A struct whose unknown fields are left out and named, see `api/formats/known_fields.py`."""


class EphemeralMark(CacheControl, frozen=True, kw_only=True, omit_defaults=True):
    """A cache mark, `{"type": "ephemeral", "ttl": "5m" | "1h"}`; other values are refused in Anthropic's words."""

    type: str
    """Only `ephemeral`; another type is refused."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        if not self.is_known:
            found = f"Input tag '{self.type[:100]}' found using 'type'"
            raise ValueError(f"cache_control: {found} does not match any of the expected tags: 'ephemeral'")
        if self.ttl not in {None, "5m", "1h"}:
            raise ValueError("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")


class Block(Strict, frozen=True, kw_only=True, tag_field="type"):
    """A part of a turn."""

    cache_control: EphemeralMark | None = None
    """Marks the end of this block for the vendor's cache."""


class TextBlock(Block, frozen=True, kw_only=True, tag="text"):
    """A block of text, `{"type": "text", "text"}`."""

    text: str
    """The text."""


class OnlyTextBlock(Strict, frozen=True, kw_only=True):
    """A text block where no other kind of block is allowed. It has no msgspec tag, because msgspec requires tags only in
    unions.
    """

    TAG: ClassVar = "text"  # read by `fingerprints.py`
    type: Literal["text"]
    text: str
    """The text."""
    cache_control: EphemeralMark | None = None
    """Marks the end of this block for the vendor's cache."""


class Source(Strict, frozen=True, kw_only=True, tag_field="type"):
    """The source of an image or a document. It must be in the body, because nothing is ever fetched."""


class Base64Source(Source, frozen=True, kw_only=True, tag="base64"):
    """An image or a document in the body itself."""

    media_type: str
    """The type of the data, such as `image/png`; which ones a model sees depends on its vendor."""
    data: str
    """The data, in base 64."""


class PlainTextSource(Source, frozen=True, kw_only=True, tag="text"):
    """A document of plain text, `{"type": "text", "media_type": "text/plain", "data"}`."""

    data: str
    """The text of the document."""
    media_type: Literal["text/plain"] = "text/plain"
    """Always `text/plain`."""


class ContentSource(Source, frozen=True, kw_only=True, tag="content"):
    """A document as text or as blocks of text."""

    content: str | list[OnlyTextBlock]
    """The text, or blocks of text."""


class UrlSource(Source, frozen=True, kw_only=True, tag="url"):
    """An address; refused, because nothing is ever fetched."""

    url: str
    """Refused: send the data itself in base 64."""


class FileSource(Source, frozen=True, kw_only=True, tag="file"):
    """A file of Anthropic's Files API; refused, because there are none here."""

    file_id: str
    """Refused: send the data itself in base 64."""


class ImageBlock(Block, frozen=True, kw_only=True, tag="image"):
    """An image, `{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data"}}`."""

    source: Base64Source | UrlSource | FileSource
    """The image in base 64; other sources are refused."""


class DocumentBlock(Block, frozen=True, kw_only=True, tag="document"):
    """A document of plain text; the model is given its text. Other documents are refused, because no
    model here takes them.
    """

    source: Base64Source | PlainTextSource | ContentSource | UrlSource | FileSource
    """Plain text, or blocks of text; other sources are refused."""
    title: str | None = None
    """The title, which the model is told before the text."""
    context: str | None = None
    """What the document is, which the model is told before the text."""


class SearchResultBlock(Block, frozen=True, kw_only=True, tag="search_result"):
    """A result of the caller's own search; the model is given its text."""

    source: str
    """Where the result was found, which the model is told."""
    title: str
    """The title of the result, which the model is told."""
    content: list[OnlyTextBlock]
    """The text of the result."""


class ToolReferenceBlock(Block, frozen=True, kw_only=True, tag="tool_reference"):
    """A tool that a search for tools has found. Here all tools are on offer from the beginning."""

    tool_name: str
    """The name of the tool that was found."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a tool: `direct` is the model itself, others are tools that Anthropic runs."""

    type: str
    """`direct` for the model itself; any other is the name of a tool that Anthropic runs."""


class ToolUseBlock(Block, frozen=True, kw_only=True, tag="tool_use"):
    """A call of a tool in an earlier answer. An `input` that is no object is one that was cut off."""

    id: CallId
    """The id of the call, which its `tool_result` repeats: up to 16,384 visible ASCII characters."""
    name: CalledName
    """The name of the tool, 1 to 256 characters."""
    input: dict[str, Any] | str | None = None
    """The arguments, as an object; a text where they were cut off."""
    caller: Caller | None = None
    """Who asked for the call; any but `direct` is left out and named in `x-ignored`."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(input=self.input)


class ToolResultBlock(Block, frozen=True, kw_only=True, tag="tool_result"):
    """The result of the tool call `tool_use_id`."""

    tool_use_id: CallId
    """The `id` of the call that this answers, in the turn right before."""
    content: str | list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock] | None = None
    """The result, as text or as blocks; left out, it is empty."""
    is_error: bool | None = None
    """True is left out and named in `x-ignored`: say in the text that the tool failed."""


class ThinkingBlock(Block, frozen=True, kw_only=True, tag="thinking"):
    """A thought of an earlier answer that the caller sends back. A thought of another model is left out and named."""

    thinking: str | None = None
    """The text of the thought, as it came."""
    signature: str | None = None
    """The signature of the thought, as it came."""


class RedactedThinkingBlock(Block, frozen=True, kw_only=True, tag="redacted_thinking"):
    """A thought of an earlier answer that its vendor has encrypted."""

    data: str | None = None
    """The encrypted thought, as it came."""


class CompactionBlock(Block, frozen=True, kw_only=True, tag="compaction"):
    """Anthropic's summary of the earlier conversation; the model is given it as text."""

    content: str | None = None
    """The summary; null is none."""


class ServerToolUseBlock(OfUnknownType, frozen=True, kw_only=True, tag="server_tool_use", tag_field="type"):
    """A call of a tool that Anthropic runs. It is left out and named, and so are blocks of any other unknown type, such as
    the results of such tools (`web_search_tool_result`).
    """

    kind: str = msgspec.field(name=KIND, default="server_tool_use")
