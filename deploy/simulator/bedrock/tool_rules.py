"""Converse's refusals of tools, their calls and their results.

Sources: the Bedrock runtime API reference, AWS's table of what Converse supports with which model, and the texts of its
ValidationExceptions as users report them (2024-2026).
"""

from __future__ import annotations

import re
from itertools import pairwise

from deploy.simulator.bedrock.constraints import check_identifier, check_length
from deploy.simulator.bedrock.models import Model
from deploy.simulator.bedrock.rules import invalid
from deploy.simulator.bedrock.tools import Choice, ToolConfig, Turn

_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")


def check_tools(turns: list[Turn], config: ToolConfig | None, model: Model, *, stream: bool) -> None:
    """Check tools and their results against Converse's rules and the model's; raises `Refusal`."""
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
    """Check names and ids against the service's own constraint, and ids against Mistral's, too."""
    for i, tool in enumerate(config.tools if config else (), start=1):
        check_identifier(f"toolConfig.tools.{i}.member.toolSpec.name", tool.tool_spec.name)
        check_length(f"toolConfig.tools.{i}.member.toolSpec.description", tool.tool_spec.description)
    for i, turn in enumerate(turns, start=1):
        for j, block in enumerate(turn.content, start=1):
            where = f"messages.{i}.member.content.{j}.member"
            if block.tool_use:
                check_identifier(f"{where}.toolUse.name", block.tool_use.name)
                check_identifier(f"{where}.toolUse.toolUseId", block.tool_use.tool_use_id)
                _check_mistral(block.tool_use.tool_use_id, model)
            if block.tool_result:
                check_identifier(f"{where}.toolResult.toolUseId", block.tool_result.tool_use_id)


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
    for i, tool in enumerate(config.tools):
        if tool.tool_spec.input_schema.json.get("type") != "object":
            where = f"toolConfig.tools.{i}.toolSpec.inputSchema.json.type"
            raise invalid(f"The value at {where} must be one of the following: object.")
    choice = config.tool_choice or Choice()
    for name in ("auto", "any", "tool"):
        if getattr(choice, name) is not None and name not in model.choices:
            field = f"toolConfig.toolChoice.{name}"
            raise invalid(f"This model doesn't support the {field} field. Remove {field} and try again.")
    if choice.tool and choice.tool.name not in {tool.tool_spec.name for tool in config.tools}:
        raise invalid("The tool name at toolConfig.toolChoice.tool.name is not one of toolConfig.tools.")


def _check_results(i: int, before: Turn, after: Turn) -> None:
    """Check that the turn after a call has its results and nothing else."""
    called = [block.tool_use.tool_use_id for block in before.content if block.tool_use]
    answered = [block.tool_result.tool_use_id for block in after.content if block.tool_result]
    _check_once(f"toolUse blocks at messages.{i - 1}.content", called)
    _check_once(f"toolResult blocks at messages.{i}.content", answered)
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


def _check_once(where: str, ids: list[str]) -> None:
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise invalid(f"The {where} contain duplicate Ids: {', '.join(twice)}")


def _check_sides(i: int, turn: Turn) -> None:
    wrong = "tool_use" if turn.role == "user" else "tool_result"
    if any(getattr(block, wrong) for block in turn.content):
        raise invalid(f"The {turn.role} turn at messages.{i} has a block that only the other side may have.")
    for block in turn.content:
        if block.tool_use and not isinstance(block.tool_use.input, dict):
            raise invalid(f"The value at messages.{i}.content.0.toolUse.input must be an object.")
