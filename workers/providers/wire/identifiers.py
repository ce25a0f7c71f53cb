"""Converts names of tools and ids of calls that a vendor does not take (`shared/catalogue/tool_limits.py`).

The same name or id always gives the same result, so that a call, its result and the next request match. Names in an
answer are converted back; ids in an answer are the vendor's own and stay. Some clients count ids anew in each turn, so
that a call has the id of an earlier one; it gets another id, because Claude requires all of them to differ, and
DeepSeek says "Duplicate value for 'tool_call_id'" (read 2026-11).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import msgspec

from shared.catalogue.tool_limits import ToolLimits, tool_limits
from shared.chat import CallPiece, JsonAnswer, Message, Sampling, Tools
from workers.providers.protocol import Piece, ProviderRequest

NAME_LENGTH_MAX, DIGEST_LENGTH = 64, 8
NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def with_identifiers(request: ProviderRequest) -> tuple[ProviderRequest, CallersNames | None]:
    """The request with names and ids that its vendor takes, and the converter of names in the answer; None if nothing was
    changed.
    """
    limits = tool_limits(request.model)
    names = _new_names(request, limits)
    messages = _messages(request.messages, names, _Ids(limits))
    if not names and messages is request.messages:
        return request, None
    fitted = msgspec.structs.replace(
        request,
        messages=messages,
        tools=_tools(request.tools, names),
        sampling=_sampling(request.sampling, names),
    )
    return fitted, CallersNames({new: name for name, new in names.items()}) if names else None


class CallersNames:
    """Converts names in an answer back to the caller's."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """The same piece with the caller's name."""
        if isinstance(piece, CallPiece) and piece.name in self._names:
            piece = msgspec.structs.replace(piece, name=self._names[piece.name])
        yield piece


def short_name(name: str) -> str:
    """A name of at most 64 letters, digits, `_` and `-` that begins with a letter or `_`: the beginning of the name as
    far as it fits, and a digest.
    """
    plain = NO_NAME.sub("_", name)
    start = plain if re.match("[a-zA-Z_]", plain) else f"_{plain}"
    return f"{start[: NAME_LENGTH_MAX - DIGEST_LENGTH - 1]}_{_digest(name, DIGEST_LENGTH)}"


def _new_names(request: ProviderRequest, limits: ToolLimits) -> dict[str, str]:
    answer = request.sampling.json_answer
    names = {tool.name for tool in request.tools.offered}
    names |= {call.name for message in request.messages for call in message.tool_calls}
    names |= {answer.name} if answer else set()
    return {name: short_name(name) for name in names if not limits.names.fullmatch(name)}


class _Ids:
    """The ids of one conversation, in the order of its calls."""

    def __init__(self, limits: ToolLimits) -> None:
        self._limits = limits
        self._given: dict[str, str] = {}
        """By the caller's id, the id of the last call that has it: a result belongs to that call."""
        self._taken: set[str] = set()

    def of_call(self, one: str) -> str:
        """An id that the vendor takes and that no other call has."""
        made, times = self._fitting(one), 1
        while made in self._taken:
            times += 1
            made = _digest(f"{one} {times}", self._limits.id_length)
        self._taken.add(made)
        self._given[one] = made
        return made

    def of_result(self, one: str) -> str:
        """The id of the result's call."""
        return self._given.get(one) or self._fitting(one)

    def _fitting(self, one: str) -> str:
        fits = self._limits.ids is None or self._limits.ids.fullmatch(one)
        return one if fits else _digest(one, self._limits.id_length)


def _digest(text: str, length: int) -> str:
    """A digest of lower-case letters and digits."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


def _messages(messages: list[Message], names: dict[str, str], ids: _Ids) -> list[Message]:
    """The messages with converted names and ids; the very same list if nothing changed."""
    fitted = [_message(message, names, ids) for message in messages]
    return messages if fitted == messages else fitted


def _message(message: Message, names: dict[str, str], ids: _Ids) -> Message:
    if not message.tool_calls and message.tool_call_id is None:
        return message
    calls = tuple(
        msgspec.structs.replace(call, id=ids.of_call(call.id), name=names.get(call.name, call.name))
        for call in message.tool_calls
    )
    answered = None if message.tool_call_id is None else ids.of_result(message.tool_call_id)
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
