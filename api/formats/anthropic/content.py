"""The content of a turn in Anthropic's Messages API: blocks, and the sources of images and documents."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from api.formats.cache_marks import CacheControl
from api.formats.known_fields import KIND, OfUnknownType
from shared.json_bounds import refuse_depth
from shared.patterns import told_as

CallId = Annotated[str, msgspec.Meta(pattern=told_as("up to 16,384 visible characters of ASCII", r"^[!-~]{0,16384}\Z"))]
"""The id of a call, of any vendor or service; see `api/formats/openai/messages.py`."""
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
    """A cache mark: the vendor's cache keeps everything up to the end of this block."""


class TextBlock(Block, frozen=True, kw_only=True, tag="text"):
    """A block of text, `{"type": "text", "text"}`."""

    text: str
    """The text of the block."""


class OnlyTextBlock(Strict, frozen=True, kw_only=True):
    """A text block where no other kind of block is allowed."""

    TAG: ClassVar = "text"  # read by `fingerprints.py`
    type: Literal["text"]
    text: str
    """The text of the block."""
    cache_control: EphemeralMark | None = None
    """A cache mark: the vendor's cache keeps everything up to the end of this block."""


class Source(Strict, frozen=True, kw_only=True, tag_field="type"):
    """The source of an image or a document. It must be in the body, because nothing is ever fetched."""


class Base64Source(Source, frozen=True, kw_only=True, tag="base64"):
    """The source of an image or a document: its bytes, in the body itself."""

    media_type: str
    """The media type of the data, such as `image/png`; the types that a model takes depend on its vendor."""
    data: str
    """The data, in base 64."""


class PlainTextSource(Source, frozen=True, kw_only=True, tag="text"):
    """The source of a document: plain text, `{"type": "text", "media_type": "text/plain", "data"}`."""

    data: str
    """The text of the document."""
    media_type: Literal["text/plain"] = "text/plain"
    """Always `text/plain`."""


class ContentSource(Source, frozen=True, kw_only=True, tag="content"):
    """The source of a document: a text, or blocks of text."""

    content: str | list[OnlyTextBlock]
    """The document, as a text or as blocks of text."""


class UrlSource(Source, frozen=True, kw_only=True, tag="url"):
    """An address as a source; it is refused, because nothing is ever fetched."""

    url: str
    """The address; refused: send the data itself in base 64."""


class FileSource(Source, frozen=True, kw_only=True, tag="file"):
    """A file of Anthropic's Files API as a source; it is refused, because such files are not kept here."""

    file_id: str
    """The id of the file; refused: send the data itself in base 64."""


class ImageBlock(Block, frozen=True, kw_only=True, tag="image"):
    """An image, `{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data"}}`."""

    source: Base64Source | UrlSource | FileSource
    """The image in base 64; other sources are refused."""


class DocumentBlock(Block, frozen=True, kw_only=True, tag="document"):
    """A document of plain text; the model is given its text. Other documents are refused, because no
    model here takes them.
    """

    source: Base64Source | PlainTextSource | ContentSource | UrlSource | FileSource
    """The source of the document: plain text, or blocks of text. Other sources are refused."""
    title: str | None = None
    """The title of the document; the model is told it before the text."""
    context: str | None = None
    """A remark about the document; the model is told it before the text."""


class SearchResultBlock(Block, frozen=True, kw_only=True, tag="search_result"):
    """A result of the caller's own search; the model is given its text."""

    source: str
    """The place where the result was found; the model is told it."""
    title: str
    """The title of the result; the model is told it."""
    content: list[OnlyTextBlock]
    """The text of the result, as blocks."""


class ToolReferenceBlock(Block, frozen=True, kw_only=True, tag="tool_reference"):
    """A reference to a tool that Anthropic's search for tools has found. It changes nothing: here all tools are on
    offer from the beginning.
    """

    tool_name: str
    """The name of the tool that was found."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a tool: the model itself, or a tool that Anthropic runs."""

    type: str
    """`direct` for the model itself; any other value is the name of a tool that Anthropic runs."""


class ToolUseBlock(Block, frozen=True, kw_only=True, tag="tool_use"):
    """A call of a tool in an earlier answer. An `input` that is no object belongs to a call that was cut off."""

    id: CallId
    """The id of the call, which its `tool_result` repeats: up to 16,384 visible ASCII characters."""
    name: CalledName
    """The name of the tool, 1 to 256 characters."""
    input: dict[str, Any] | str | None = None
    """The arguments of the call, as an object; a text if they were cut off."""
    caller: Caller | None = None
    """The caller of the tool; any but `direct` is left out and named in `x-ignored`."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(input=self.input)


class ToolResultBlock(Block, frozen=True, kw_only=True, tag="tool_result"):
    """The result of a tool call."""

    tool_use_id: CallId
    """The `id` of the call that has this result. The call must be in the turn right before."""
    content: str | list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock] | None = None
    """The result, as a text or as blocks; empty if it is left out."""
    is_error: bool | None = None
    """True is left out and named in `x-ignored`: say in the text that the tool failed."""


class ThinkingBlock(Block, frozen=True, kw_only=True, tag="thinking"):
    """A thought of an earlier answer that the caller sends back. A thought of another model is left out and named in
    `x-ignored`.
    """

    thinking: str | None = None
    """The text of the thought, unchanged."""
    signature: str | None = None
    """The signature of the thought, unchanged."""


class RedactedThinkingBlock(Block, frozen=True, kw_only=True, tag="redacted_thinking"):
    """A thought of an earlier answer that its vendor has encrypted."""

    data: str | None = None
    """The encrypted thought, unchanged."""


class CompactionBlock(Block, frozen=True, kw_only=True, tag="compaction"):
    """Anthropic's summary of the earlier conversation; the model is given it as text."""

    content: str | None = None
    """The text of the summary; null for no summary."""


class ServerToolUseBlock(OfUnknownType, frozen=True, kw_only=True, tag="server_tool_use", tag_field="type"):
    """A call of a tool that Anthropic runs. Such blocks, and blocks of any other unknown type such as the results of
    such tools (`web_search_tool_result`), are left out and named in `x-ignored`.
    """

    kind: str = msgspec.field(name=KIND, default="server_tool_use")
