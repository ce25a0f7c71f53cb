"""Names of tools and ids of calls that a vendor does not take (`shared/catalogue/tool_limits.py`), made such that it does.

The same name or id always becomes the same one, so that a call, its result and the next request fit together; names in an
answer become the caller's again. Ids in an answer are the vendor's own and stay.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import msgspec

from shared.catalogue.tool_limits import ToolLimits, tool_limits
from shared.chat import CallPiece, JsonAnswer, Message, Sampling, ToolCall, Tools
from workers.providers.protocol import Piece, ProviderRequest

NAME_LENGTH_MAX, DIGEST_LENGTH = 64, 8
NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def with_identifiers(request: ProviderRequest) -> tuple[ProviderRequest, CallersNames | None]:
    """The request with names and ids that its vendor takes, and what gives names back; None when nothing was changed."""
    limits = tool_limits(request.model)
    names = _new_names(request, limits)
    ids = _new_ids(request, limits)
    if not names and not ids:
        return request, None
    fitted = msgspec.structs.replace(
        request,
        messages=[_message(message, names, ids) for message in request.messages],
        tools=_tools(request.tools, names),
        sampling=_sampling(request.sampling, names),
    )
    return fitted, CallersNames({new: name for name, new in names.items()}) if names else None


class CallersNames:
    """Gives calls the names back that the caller's tools have."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """The same piece, with the caller's name in it."""
        if isinstance(piece, CallPiece) and piece.name in self._names:
            piece = msgspec.structs.replace(piece, name=self._names[piece.name])
        yield piece


def short_name(name: str) -> str:
    """At most 64 letters, digits, `_` and `-`, a letter or `_` first: what there is room for of the name, and a digest."""
    plain = NO_NAME.sub("_", name)
    start = plain if re.match("[a-zA-Z_]", plain) else f"_{plain}"
    return f"{start[: NAME_LENGTH_MAX - DIGEST_LENGTH - 1]}_{_digest(name, DIGEST_LENGTH)}"


def _new_names(request: ProviderRequest, limits: ToolLimits) -> dict[str, str]:
    answer = request.sampling.json_answer
    names = {tool.name for tool in request.tools.offered}
    names |= {call.name for message in request.messages for call in message.tool_calls}
    names |= {answer.name} if answer else set()
    return {name: short_name(name) for name in names if not limits.names.fullmatch(name)}


def _new_ids(request: ProviderRequest, limits: ToolLimits) -> dict[str, str]:
    if limits.ids is None:
        return {}
    ids = {call.id for message in request.messages for call in message.tool_calls}
    ids |= {message.tool_call_id for message in request.messages if message.tool_call_id}
    return {one: _digest(one, limits.id_length) for one in ids if not limits.ids.fullmatch(one)}


def _digest(text: str, length: int) -> str:
    """Small letters and digits."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


def _message(message: Message, names: dict[str, str], ids: dict[str, str]) -> Message:
    if not message.tool_calls and not message.tool_call_id:
        return message
    calls = tuple(
        ToolCall(ids.get(call.id, call.id), names.get(call.name, call.name), call.arguments)
        for call in message.tool_calls
    )
    answered = message.tool_call_id and ids.get(message.tool_call_id, message.tool_call_id)
    return msgspec.structs.replace(message, tool_calls=calls, tool_call_id=answered)


def _tools(tools: Tools, names: dict[str, str]) -> Tools:
    offered = tuple(msgspec.structs.replace(tool, name=names.get(tool.name, tool.name)) for tool in tools.offered)
    choice = tools.choice
    if choice and choice.name:
        choice = msgspec.structs.replace(choice, name=names.get(choice.name, choice.name))
    return msgspec.structs.replace(tools, offered=offered, choice=choice)


def _sampling(sampling: Sampling, names: dict[str, str]) -> Sampling:
    answer: JsonAnswer | None = sampling.json_answer
    if answer is None or answer.name not in names:
        return sampling
    return msgspec.structs.replace(sampling, json_answer=msgspec.structs.replace(answer, name=names[answer.name]))
