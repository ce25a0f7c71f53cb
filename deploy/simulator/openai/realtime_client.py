"""The client events of OpenAI Realtime, and the vendor's refusals of them.

Source: OpenAI's Realtime API reference (GA, 2025).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.values import INVALID

_CONTENT_TYPES = {
    "user": {"input_text", "input_image", "input_audio"},
    "assistant": {"output_text", "output_audio"},
    "system": {"input_text"},
}
LIMIT_MAX = 4_096
Limit = int | Literal["inf"]


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """One part of an item."""

    type: str
    text: str = ""


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: list[Part]
    type: str = "message"
    id: str | None = None


class SessionUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """The settings of a client; GA knows no temperature."""

    type: Literal["realtime", "transcription"]
    model: str | None = None
    instructions: str | None = None
    output_modalities: list[Literal["text", "audio"]] | None = None
    max_output_tokens: Limit | None = None
    audio: Any = None
    include: Any = None
    parallel_tool_calls: Any = None
    prompt: Any = None
    reasoning: Any = None
    tool_choice: Any = None
    tools: Any = None
    tracing: Any = None
    truncation: Any = None


class ResponseOptions(msgspec.Struct):
    """The settings of a single response, which override the session's."""

    instructions: str | None = None
    output_modalities: list[Literal["text", "audio"]] | None = None
    max_output_tokens: Limit | None = None


class ClientEvent(msgspec.Struct):
    """Any event of a client."""

    type: str
    session: msgspec.Raw = msgspec.Raw(b"{}")
    item: Item | None = None
    response: ResponseOptions | None = None


def read_session(raw: msgspec.Raw) -> SessionUpdate:
    """Read what a client sets; raises `Refusal` for unknown fields, and for an output limit beyond its range."""
    try:
        given = msgspec.json.decode(raw, type=SessionUpdate)
    except msgspec.ValidationError as error:
        raise Refusal(400, "unknown_parameter", str(error), INVALID, "session") from None
    _check_limit(given.max_output_tokens)
    return given


def _check_limit(limit: Limit | None) -> None:
    if isinstance(limit, int) and not 1 <= limit <= LIMIT_MAX:
        side, bound = ("below", "min") if limit < 1 else ("above", "max")
        words = f"Invalid 'session.max_output_tokens': integer {side} {bound}imum value."
        raise Refusal(400, f"integer_{side}_{bound}_value", words, INVALID, "session.max_output_tokens")


def check_item(item: Item) -> None:
    """Check the content types of an item against its role; raises `Refusal`."""
    allowed = _CONTENT_TYPES[item.role]
    for i, part in enumerate(item.content):
        if part.type not in allowed:
            words = f"Invalid value: '{part.type}'. Supported values are: {sorted(allowed)}."
            raise Refusal(400, "invalid_value", words, INVALID, f"item.content[{i}].type")
