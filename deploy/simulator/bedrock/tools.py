"""Tools as Bedrock's Converse takes them: what is offered and asked for, and what is refused.

Sources: the Bedrock runtime API reference, AWS's table of what Converse supports with which model, and the texts of its
ValidationExceptions as users report them (2024-2026).
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

import msgspec

from deploy.simulator.bedrock.rules import Model, invalid
from deploy.simulator.tools import Asked, Offer

IDENTIFIER_LENGTH_MAX = 64
_IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]+")
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")


class ToolUse(msgspec.Struct, rename="camel"):
    """A call that the model made in an earlier answer."""

    tool_use_id: str
    name: str
    input: Any


class ResultContent(msgspec.Struct):
    """A piece of what a tool said."""

    text: str | None = None
    json: Any = None
    image: Any = None


class ToolResult(msgspec.Struct, rename="camel"):
    """What a tool said to a call."""

    tool_use_id: str
    content: list[ResultContent]


class Block(msgspec.Struct, rename="camel"):
    """One content block: exactly one of these."""

    text: str | None = None
    image: Any = None
    tool_use: ToolUse | None = None
    tool_result: ToolResult | None = None


class Turn(msgspec.Struct):
    """One message."""

    role: Literal["user", "assistant"]
    content: list[Block]


class InputSchema(msgspec.Struct):
    """The schema of a tool's arguments."""

    json: dict[str, Any]


class Specification(msgspec.Struct, rename="camel"):
    """A tool's definition."""

    name: str
    input_schema: InputSchema
    description: str | None = None


class Tool(msgspec.Struct, rename="camel"):
    """A tool on offer."""

    tool_spec: Specification


class Specific(msgspec.Struct):
    """The tool that must be called."""

    name: str


class Choice(msgspec.Struct):
    """Exactly one of these; there is no `none`."""

    auto: Any = None
    any: Any = None
    tool: Specific | None = None


class ToolConfig(msgspec.Struct, rename="camel"):
    """What is on offer."""

    tools: list[Tool]
    tool_choice: Choice | None = None


def text_of(blocks: list[Block]) -> str:
    """Join the text blocks."""
    return "".join(block.text or "" for block in blocks)


def asked_of(turns: list[Turn], config: ToolConfig | None) -> Asked:
    """Read what a request says of tools."""
    last = turns[-1].content if turns else []
    results = [result_text(block.tool_result) for block in last if block.tool_result]
    result = " ".join(results) if results and not text_of(last) else None
    if config is None:
        return Asked(result=result)
    choice = config.tool_choice or Choice()
    return Asked(
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
    """Count the images, also those in what tools said."""
    blocks = [block for turn in turns for block in turn.content]
    said = [part.image for block in blocks if block.tool_result for part in block.tool_result.content]
    return sum(image is not None for image in [*(block.image for block in blocks), *said])


def result_text(result: ToolResult) -> str:
    """Give what a tool said as text."""
    said = [part for part in result.content if part.image is None]
    return "".join(part.text if part.text is not None else msgspec.json.encode(part.json).decode() for part in said)


def check_tools(turns: list[Turn], config: ToolConfig | None, model: Model, *, stream: bool) -> None:
    """Hold tools and their results against Converse's rules and the model's; raises `Refusal`."""
    _check_identifiers(turns, config, model)
    if not model.images_in_results and any(
        part.image is not None
        for turn in turns
        for b in turn.content
        if b.tool_result
        for part in b.tool_result.content
    ):
        raise invalid("This model doesn't support the image field for user messages. Remove image and try again.")
    uses = any(block.tool_use or block.tool_result for turn in turns for block in turn.content)
    if config is None and uses:
        raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    if config is not None:
        _check_config(config, model, stream=stream)
    for i, (before, after) in enumerate(pairwise([Turn("user", []), *turns])):
        _check_results(i, before, after)
        _check_sides(i, after)


def _check_identifiers(turns: list[Turn], config: ToolConfig | None, model: Model) -> None:
    """Names and ids are the service's own constraint, and ids Mistral's, too."""
    for i, tool in enumerate(config.tools if config else (), start=1):
        _check_constraint(f"toolConfig.tools.{i}.member.toolSpec.name", tool.tool_spec.name)
    for i, turn in enumerate(turns, start=1):
        for j, block in enumerate(turn.content, start=1):
            where = f"messages.{i}.member.content.{j}.member"
            if block.tool_use:
                _check_constraint(f"{where}.toolUse.name", block.tool_use.name)
                _check_constraint(f"{where}.toolUse.toolUseId", block.tool_use.tool_use_id)
                _check_mistral(block.tool_use.tool_use_id, model)
            if block.tool_result:
                _check_constraint(f"{where}.toolResult.toolUseId", block.tool_result.tool_use_id)


def _check_constraint(where: str, value: str) -> None:
    said = f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: Member must"
    if len(value) > IDENTIFIER_LENGTH_MAX:
        raise invalid(f"{said} have length less than or equal to {IDENTIFIER_LENGTH_MAX}")
    if not _IDENTIFIER.fullmatch(value):
        raise invalid(f"{said} satisfy regular expression pattern: {_IDENTIFIER.pattern}")


def _check_mistral(call: str, model: Model) -> None:
    if model.id.startswith("mistral.") and not _MISTRAL_ID.fullmatch(call):
        raise invalid(
            "The model returned the following errors: "
            f"Tool call id was {call} but must be a-z, A-Z, 0-9, with a length of 9."
        )


def _check_config(config: ToolConfig, model: Model, *, stream: bool) -> None:
    if not model.tools:
        raise invalid("This model doesn't support tool use.")
    if stream and not model.tools_stream:
        raise invalid("This model doesn't support tool use in streaming mode.")
    if not config.tools:
        raise invalid("The value at toolConfig.tools is empty. Add at least one tool.")
    if any(tool.tool_spec.input_schema.json.get("type") != "object" for tool in config.tools):
        raise invalid(
            "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object."
        )
    choice = config.tool_choice or Choice()
    for name in ("auto", "any", "tool"):
        if getattr(choice, name) is not None and name not in model.choices:
            field = f"toolConfig.toolChoice.{name}"
            raise invalid(f"This model doesn't support the {field} field. Remove {field} and try again.")
    if choice.tool and choice.tool.name not in {tool.tool_spec.name for tool in config.tools}:
        raise invalid("The tool name at toolConfig.toolChoice.tool.name is not one of toolConfig.tools.")


def _check_results(i: int, before: Turn, after: Turn) -> None:
    """The turn after a call answers it, and nothing else."""
    called = [block.tool_use.tool_use_id for block in before.content if block.tool_use]
    answered = [block.tool_result.tool_use_id for block in after.content if block.tool_result]
    if missing := [call for call in called if call not in answered]:
        raise invalid(f"Expected toolResult blocks at messages.{i}.content for the following Ids: {', '.join(missing)}")
    if len(answered) > len(called):
        raise invalid(
            f"The number of toolResult blocks at messages.{i}.content exceeds the number of toolUse blocks of previous turn."
        )
    if any(
        part.text is not None and not part.text.strip()
        for b in after.content
        if b.tool_result
        for part in b.tool_result.content
    ):
        raise invalid(f"The text field in the toolResult at messages.{i}.content is blank. Add text to the text field.")


def _check_sides(i: int, turn: Turn) -> None:
    wrong = "tool_use" if turn.role == "user" else "tool_result"
    if any(getattr(block, wrong) for block in turn.content):
        raise invalid(f"The {turn.role} turn at messages.{i} has a block that only the other side may have.")
    for block in turn.content:
        if block.tool_use and not isinstance(block.tool_use.input, dict):
            raise invalid(f"The value at messages.{i}.content.0.toolUse.input must be an object.")
