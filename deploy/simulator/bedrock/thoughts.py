"""Thoughts of Converse's models, and the signatures by which they are recognised. The newest models also sign everything
that came before a thought.

Sources, read 2026-11: the Bedrock runtime API reference, Anthropic's guides to thinking and to preserved thinking, and the
texts of errors as users report them.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from deploy.simulator import answer
from deploy.simulator.bedrock.models import Model
from deploy.simulator.bedrock.thinking import said, summarizes
from deploy.simulator.bedrock.tools import Block, ReasoningContent, Turn
from deploy.simulator.exchange import Told

ENCRYPTED = ("openai.gpt-5", "openai.gpt-6")
"""Models that show only encrypted data."""
SIGNED = ("anthropic.",)
LENGTH = 12
"""Characters of each half of a signature."""


def shown(told: Told, model: Model) -> str:
    """The text of the thoughts; empty if they are hidden."""
    if not summarizes(told.question.body.additional_model_request_fields, model) or model.id.startswith(ENCRYPTED):
        return ""
    return "".join(answer.thoughts(told.reply.reasoning))


def content_json(told: Told, model: Model) -> dict[str, Any]:
    """The block of a JSON answer, with the fields that its stream sends beside the text."""
    text, proof = shown(told, model), signed(told, model)
    if model.id.startswith(ENCRYPTED):
        return {"redactedContent": base64.b64encode(proof.encode()).decode()}
    return {"reasoningText": {"text": text, **({"signature": proof} if model.id.startswith(SIGNED) else {})}}


def signed(told: Told, model: Model) -> str:
    """The signature of the thoughts, which covers all messages."""
    body = told.question.body
    return _signature(model, shown(told, model), _prefix(body, body.messages))


def check_thoughts(body: Any, model: Model) -> None:  # noqa: ANN401 - a ConverseRequest, which knows this module
    """Raise `Refusal` for thoughts of earlier turns that were changed."""
    for i, turn in enumerate(body.messages):
        thoughts = [(j, block.reasoning_content) for j, block in enumerate(turn.content) if block.reasoning_content]
        if thoughts and turn.role != "assistant":
            raise said(f"messages.{i}: reasoning content is the assistant's.")
        for j, thought in thoughts:
            _check_proof(f"messages.{i}.content.{j}", thought, model, _prefix(body, body.messages[:i]))
        if turn.content[-1].reasoning_content:
            raise said(f"messages.{i}: The final block in an assistant message cannot be `thinking`.")
    kind = (body.additional_model_request_fields.get("thinking") or {}).get("type")
    if kind == "enabled":
        _check_begins_with_thought(body.messages)


def _check_proof(where: str, thought: ReasoningContent, model: Model, prefix: bytes) -> None:
    text = thought.reasoning_text
    if text is None:
        proof, wrote = base64.b64decode(thought.redacted_content or "").decode(errors="replace"), ""
    elif text.signature is None:
        raise said(f"{where}.thinking.signature: Field required")
    else:
        proof, wrote = text.signature, text.text
    if proof == _signature(model, wrote, prefix):
        return
    if model.binds and proof[:LENGTH] == _signature(model, wrote, b"")[:LENGTH]:
        raise said(f"{where}: The block is bound to a different conversation.")
    raise said(f"{where}: Invalid `signature` in `thinking` block")


def _check_begins_with_thought(turns: list[Turn]) -> None:
    if not any(block.tool_result for block in turns[-1].content):
        return
    first: Block = turns[-2].content[0]
    if first.reasoning_content is None:
        kind = "tool_use" if first.tool_use else "text"
        raise said(
            f"messages.{len(turns) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When "
            "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost "
            "set of `tool_use` and `tool_result` blocks)."
        )


def _signature(model: Model, text: str, prefix: bytes) -> str:
    """The signature of the thought, and of the prefix if the model is bound to its prefix."""
    own = hashlib.sha256(f"{model.id} {text}".encode()).hexdigest()[:LENGTH]
    return own + (hashlib.sha256(prefix).hexdigest()[:LENGTH] if model.binds else "")


def _prefix(body: Any, before: list[Turn]) -> bytes:  # noqa: ANN401
    """Everything that came before the thought, without cache points."""
    tools = [tool for tool in (body.tool_config.tools if body.tool_config else []) if not _is_point(tool)]
    system = [block for block in body.system if not _is_point(block)]
    talk = [[block for block in turn.content if not _is_point(block)] for turn in before]
    return msgspec.json.encode((system, tools, talk))


def _is_point(block: object) -> bool:
    return getattr(block, "cache_point", None) is not None
