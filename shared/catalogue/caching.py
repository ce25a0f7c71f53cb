"""Cache marks: which of the caller's marks a model takes, and what writing to the vendor's cache may cost.

OpenAI, Gemini and DeepSeek cache by themselves. Claude and Nova on Bedrock keep what is marked (Converse's
`cachePoint`), and OpenAI's models from GPT-5.6 on take marks, too. A mark on less than `cache_minimum` tokens does no
harm: nothing is kept and nothing is charged. The catalogue's rows say which models take marks, and where; the
companies' files name the sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from shared.catalogue.abilities import CONVERSE, OPENAIS
from shared.catalogue.models import Model
from shared.catalogue.rows import CachePlace
from shared.chat import INSTRUCTIONS, CacheMark, Chat, Message, Sampling, Tools
from shared.money import Writes

MARKS_MAX = 4
"""Marks that a vendor takes. "A maximum of 4 blocks with cache_control may be provided. Found 5."
(github.com/spring-projects/spring-ai/pull/4199); OpenAI writes the latest four (openai-python 3.54, `PromptCacheOptions`).
Read 2026-11.
"""


class Marked(NamedTuple):
    """Messages and tools with the marks that the model takes. `left_out` is true if there were more marks; `shortened`
    is true if a mark for an hour has become one for minutes.
    """

    messages: list[Message]
    tools: Tools
    left_out: bool
    shortened: bool


class _Placed(NamedTuple):
    """A mark, and the `position` of its message; the position is None for a mark of a tool."""

    position: int | None
    mark: CacheMark


def with_marks_taken(model: Model, messages: list[Message], tools: Tools) -> Marked:
    """Keep the last marks that the model takes; each of them covers what the earlier ones mark. If nothing is marked, the
    very same objects are returned.
    """
    asked = list(_in_order(messages, tools))
    if not asked:
        return Marked(messages, tools, left_out=False, shortened=False)
    taken = [one for one in asked if _takes(model, one, messages)][-MARKS_MAX:]
    kept = _longest_first(taken, may_be_long=_keeps_long(model))
    marks: dict[int | None, tuple[CacheMark, ...]] = {}
    for position, mark in kept:
        marks[position] = (*marks.get(position, ()), mark)
    fitted = [_with_marks(message, marks.get(position, ())) for position, message in enumerate(messages)]
    tools = msgspec.structs.replace(tools, cache_marks=marks.get(None, ()))
    shortened = any(before.mark != after.mark for before, after in zip(taken, kept, strict=True))
    return Marked(fitted, tools, left_out=len(kept) < len(asked), shortened=shortened)


def writes_of(model: Model, chat: Chat) -> Writes:
    """The longest kind of cache write that a request with these marks may make the vendor do.

    OpenAI keeps what it writes for half an hour. Its chat completions do not report how much was to be kept longer, so
    longer times are never asked for. In its explicit mode nothing is written without a mark.
    """
    marks = [mark for message in chat.messages for mark in message.cache_marks] + [*chat.tools.cache_marks]
    if any(mark.long for mark in marks) and _keeps_long(model):
        return "long"
    if marks or (model.writes_unasked and not is_explicit(model, chat.sampling)):
        return "short"
    return "none"


def _keeps_long(model: Model) -> bool:
    """True if the vendor keeps marked prompts for an hour."""
    return model.api == CONVERSE and model.price.cache_write_long is not None


def is_explicit(model: Model, sampling: Sampling) -> bool:
    """True if the request asks the vendor to write only what is marked, and the vendor can do that."""
    return sampling.caching.explicit and model.api in OPENAIS and bool(model.cache_marks)


def _in_order(messages: Sequence[Message], tools: Tools) -> Iterator[_Placed]:
    """All marks in the order in which vendors read a request: tools, instructions, other messages."""
    yield from (_Placed(None, mark) for mark in tools.cache_marks)
    for is_instruction in (True, False):
        for position, message in enumerate(messages):
            if message.cache_marks and (message.role in INSTRUCTIONS) == is_instruction:
                yield from (_Placed(position, mark) for mark in message.cache_marks)


def _takes(model: Model, placed: _Placed, messages: Sequence[Message]) -> bool:
    """True if the model takes a mark at this place. OpenAI takes none in the assistant's messages: "assistant output blocks
    are not among the block types OpenAI accepts a breakpoint on" (docs.langchain4j.dev,
    `OpenAiOfficialPromptCacheBreakpoint`, read 2026-11).
    """
    if model.api in OPENAIS and placed.position is not None and messages[placed.position].role == "assistant":
        return False
    return _place_of(placed, messages) in model.cache_marks


def _place_of(placed: _Placed, messages: Sequence[Message]) -> CachePlace:
    if placed.position is None:
        return "tools"
    message = messages[placed.position]
    if message.role in INSTRUCTIONS:
        return "system"
    return "calls" if message.role == "tool" or message.tool_calls else "messages"


def _longest_first(marks: Sequence[_Placed], *, may_be_long: bool) -> list[_Placed]:
    """Shorten every mark for an hour that comes after a mark for minutes: "a ttl='1h' cache_control block must not come
    after a ttl='5m' cache_control block" (github.com/cnighswonger/claude-code-cache-fix/issues/44, read 2026-11).
    """
    ordered: list[_Placed] = []
    for position, mark in marks:
        may_be_long = may_be_long and mark.long
        ordered.append(_Placed(position, CacheMark(mark.place, may_be_long)))
    return ordered


def _with_marks(message: Message, marks: tuple[CacheMark, ...]) -> Message:
    return message if message.cache_marks == marks else msgspec.structs.replace(message, cache_marks=marks)
