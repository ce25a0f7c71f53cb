"""Turns and tools in Converse's form: messages, tools on offer, and calls.

Source: the Bedrock runtime API reference, and botocore 1.40's model of it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from deploy.simulator.tools import AskedTools, Offer


class ToolUse(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A call that the model made in an earlier answer."""

    tool_use_id: str
    name: str
    input: Any


class ImageSource(msgspec.Struct, forbid_unknown_fields=True):
    """The image itself, in base 64."""

    bytes: str


class Image(msgspec.Struct, forbid_unknown_fields=True):
    """An image and its format."""

    format: str
    source: ImageSource


class ResultContent(msgspec.Struct, forbid_unknown_fields=True):
    """A piece of a tool's result."""

    text: str | None = None
    json: Any = None
    image: Image | None = None


class ToolResult(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The result of a call."""

    tool_use_id: str
    content: list[ResultContent]
    status: Literal["success", "error"] | None = None


class CachePoint(msgspec.Struct, forbid_unknown_fields=True):
    """A mark: the cache should keep what comes before it."""

    type: Literal["default"]
    ttl: Literal["5m", "1h"] | None = None


class ReasoningText(msgspec.Struct, forbid_unknown_fields=True):
    """A thought with the signature that proves it."""

    text: str
    signature: str | None = None


class ReasoningContent(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A text or encrypted data in base 64."""

    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class Block(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One content block: exactly one of these fields."""

    text: str | None = None
    image: Image | None = None
    tool_use: ToolUse | None = None
    tool_result: ToolResult | None = None
    reasoning_content: ReasoningContent | None = None
    cache_point: CachePoint | None = None


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """One message."""

    role: Literal["user", "assistant"]
    content: list[Block]


class InputSchema(msgspec.Struct, forbid_unknown_fields=True):
    """The schema of a tool's arguments."""

    json: dict[str, Any]


class Specification(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A tool's definition."""

    name: str
    input_schema: InputSchema
    description: str | None = None


class Tool(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A tool on offer."""

    tool_spec: Specification


class Specific(msgspec.Struct, forbid_unknown_fields=True):
    """The tool that must be called."""

    name: str


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """Exactly one of these fields; there is no `none`."""

    auto: Any = None
    any: Any = None
    tool: Specific | None = None


class ToolEntry(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Exactly one of these fields."""

    tool_spec: Specification | None = None
    cache_point: CachePoint | None = None


class ToolConfig(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The tools on offer; `entries` also contain cache points."""

    entries: list[ToolEntry] = msgspec.field(name="tools")
    tool_choice: Choice | None = None

    @property
    def tools(self) -> list[Tool]:
        """The tools without cache points."""
        return [Tool(entry.tool_spec) for entry in self.entries if entry.tool_spec]


def text_of(blocks: list[Block]) -> str:
    """Join the text blocks."""
    return "".join(block.text or "" for block in blocks)


def asked_of(turns: list[Turn], config: ToolConfig | None) -> AskedTools:
    """The tools and tool choice of a request."""
    last = turns[-1].content if turns else []
    results = [result_text(block.tool_result) for block in last if block.tool_result]
    result = " ".join(results) if results and not text_of(last) else None
    if config is None:
        return AskedTools(result=result)
    choice = config.tool_choice or Choice()
    return AskedTools(
        offers=tuple(Offer(tool.tool_spec.name, tool.tool_spec.input_schema.json) for tool in config.tools),
        choice="auto" if choice.any is None else "required",
        only=choice.tool.name if choice.tool else None,
        result=result,
    )


def texts_of(turns: list[Turn], config: ToolConfig | None) -> list[str]:
    """List the texts that are prompt besides the text blocks: definitions, calls and results."""
    blocks = [block for turn in turns for block in turn.content]
    texts = [
        block.tool_use.name + msgspec.json.encode(block.tool_use.input).decode() for block in blocks if block.tool_use
    ]
    texts += [result_text(block.tool_result) for block in blocks if block.tool_result]
    return [*texts, *(msgspec.json.encode(tool).decode() for tool in (config.tools if config else ()))]


def images_in(turns: list[Turn]) -> int:
    """Count the images, including those in tool results."""
    blocks = [block for turn in turns for block in turn.content]
    said = [part.image for block in blocks if block.tool_result for part in block.tool_result.content]
    return sum(image is not None for image in [*(block.image for block in blocks), *said])


def result_text(result: ToolResult) -> str:
    """The content of a tool's result as text."""
    said = [part for part in result.content if part.image is None]
    return "".join(part.text if part.text is not None else msgspec.json.encode(part.json).decode() for part in said)
