"""JSON answers from models that can be held to JSON only by a tool: they must call the tool, and the call's arguments
are the answer.

Neither providers nor callers know about the tool: it is added to the request, and its call in the answer is turned back
into text.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shared.answer_tool import WHOLE_ANSWER, answer_tool, is_wrapped
from shared.catalogue.abilities import json_form
from shared.chat import CallPiece, Tool, ToolChoice, Tools
from workers.providers.protocol import Finished, Joined, Piece, ProviderRequest, Thinking
from workers.providers.wire.unwrapping import Unwrapping

HELD_MAX = 65_536
"""The most characters that are held back; a longer text is no remark before a call."""


def with_answer_tool(request: ProviderRequest) -> tuple[ProviderRequest, AnswerPieces | None]:
    """The request with the answer's tool, and the converter of the answer's pieces; None if nothing needs converting.

    If the caller offers tools, too, the model must call one of these or the answer's tool, as it chooses. A model that
    must call one of the caller's tools gives no answer in this turn, so nothing is held to JSON.
    """
    answer = request.sampling.json_answer
    if answer is None or json_form(request.model, request.tools, answer) != "tool":
        return request, None
    sampling = msgspec.structs.replace(request.sampling, json_answer=None)
    if request.tools.must_be_called():
        return msgspec.structs.replace(request, sampling=sampling), None
    tool = _named_apart(answer_tool(answer), request.tools)
    tools = _offered(tool, request)
    stream = request.stream and request.model.streams_with(tools)
    asked = msgspec.structs.replace(request, sampling=sampling, tools=tools, stream=stream)
    return asked, AnswerPieces(tool.name, wrapped=is_wrapped(answer))


class AnswerPieces:
    """Turns the call of the tool `name` into the answer's text. Other calls are kept, and counted anew without it."""

    def __init__(self, name: str, *, wrapped: bool) -> None:
        self._name = name
        self._unwrapping = Unwrapping(WHOLE_ANSWER) if wrapped else None
        self._answer: int | None = None
        """The index of the call that carries the answer."""
        self._places: dict[int, int] = {}
        """New indexes of the other calls, by the provider's."""
        self._held: list[str] | None = []
        """Text before any call; None once text is no longer held."""
        self._held_length = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """The pieces that the caller gets."""
        match piece:
            case CallPiece():
                yield from self._called(piece)
            case str():
                yield from self._said(piece, 1)
            case Joined(text, count):
                yield from self._said(text, count)
            case Finished(reason):
                yield from self._rest()
                yield Finished("stop" if reason == "tool_calls" and not self._places else reason)
            case _:
                yield piece

    def _called(self, piece: CallPiece) -> Iterator[Piece]:
        if piece.name == self._name and self._answer is None:
            self._answer, self._held = piece.index, None
        elif piece.name and piece.name != self._name:
            yield from self._release()
            self._places[piece.index] = len(self._places)
        if piece.index == self._answer:
            text = self._unwrapping.feed(piece.arguments) if self._unwrapping else piece.arguments
            yield Joined(text, piece.pieces) if text else Thinking(piece.pieces)
        elif piece.index in self._places:
            yield msgspec.structs.replace(piece, index=self._places[piece.index])
        else:
            yield Thinking(piece.pieces)  # a second answer is dropped

    def _said(self, text: str, count: int) -> Iterator[Piece]:
        """Hold text until it is known whether a call follows. Text before or after the answer's call is not part of the
        answer; without a call the text is the answer.
        """
        if self._answer is None and self._held is None:
            yield Joined(text, count)
            return
        yield Thinking(count)
        if self._held is not None:
            self._held.append(text)
            self._held_length += len(text)
            if self._held_length > HELD_MAX:
                yield from self._release()

    def _release(self) -> Iterator[Piece]:
        """The text that was held; its pieces were counted when they arrived."""
        held, self._held = self._held, None
        if held:
            yield Joined("".join(held), 0)

    def _rest(self) -> Iterator[Piece]:
        """The held text at the end: a model that wrote text instead of calling a tool has answered with this text."""
        yield from self._release()
        if self._unwrapping and (text := self._unwrapping.finish()):
            yield Joined(text, 0)


def _offered(tool: Tool, request: ProviderRequest) -> Tools:
    """The tools with the answer's tool last, because vendors cache the beginning of what they are sent."""
    own = request.tools.offered if request.tools.may_be_called() else ()
    if own:
        offered, choice = (*own, tool), ToolChoice("required")
        return msgspec.structs.replace(request.tools, offered=offered, choice=choice)
    named = "named" not in request.model.tools_lack
    choice = ToolChoice("named", tool.name) if named else ToolChoice("required")
    return Tools(offered=(tool,), choice=choice, parallel=False)


def _named_apart(tool: Tool, tools: Tools) -> Tool:
    """The tool under a name that none of the caller's tools has."""
    taken = {own.name for own in tools.offered}
    name = tool.name
    while name in taken:
        name += "_answer"
    return msgspec.structs.replace(tool, name=name)
