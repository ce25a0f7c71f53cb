"""What a vendor's cache is told to keep, and what that may cost: the caller's marks as a model takes them.

OpenAI, Gemini and DeepSeek cache by themselves. Claude and Nova on Bedrock keep what is marked (Converse's `cachePoint`), and
OpenAI from GPT-5.6 on takes marks besides. A mark below `cache_minimum` does no harm: nothing is kept, nothing is charged for
it. Rows say who takes marks where; sources are in the companies' files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from shared.catalogue.abilities import CONVERSE, OPENAIS
from shared.catalogue.models import Model
from shared.catalogue.rows import CachePlace
from shared.chat import INSTRUCTIONS, CacheMark, Message, Sampling, Tools
from shared.money import Writes

MARKS_MAX = 4
""""A maximum of 4 blocks with cache_control may be provided. Found 5." (github.com/spring-projects/spring-ai/pull/4199);
OpenAI writes the latest four (openai-python 3.54, `PromptCacheOptions`). Read 2026-11.
"""


class Marked(NamedTuple):
    """What is asked with the marks that its model takes; `left_out` says whether there were more, `shortened` whether one for
    an hour is one for minutes now.
    """

    messages: list[Message]
    tools: Tools
    left_out: bool
    shortened: bool


class _Placed(NamedTuple):
    """A mark of the message at `position`, None for one of the tools."""

    position: int | None
    mark: CacheMark


def with_marks_taken(model: Model, messages: list[Message], tools: Tools) -> Marked:
    """The last marks of those that the model takes, because each of them holds what the earlier ones do. The very same
    messages and tools where nothing is marked.
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


def writes_of(model: Model, messages: Sequence[Message], tools: Tools, sampling: Sampling) -> Writes:
    """What a request with these marks may write to the vendor's cache at most.

    OpenAI keeps what it writes for half an hour: chat completions do not say how much of it was to be kept longer, so that is
    asked for nowhere. Without a mark its explicit mode writes nothing.
    """
    marks = [mark for message in messages for mark in message.cache_marks] + [*tools.cache_marks]
    if any(mark.long for mark in marks) and _keeps_long(model):
        return "long"
    if marks or (model.writes_unasked and not is_explicit(model, sampling)):
        return "short"
    return "none"


def _keeps_long(model: Model) -> bool:
    """Whether a mark may be for an hour."""
    return model.api == CONVERSE and model.price.cache_write_long is not None


def is_explicit(model: Model, sampling: Sampling) -> bool:
    """Whether the model's vendor can be told to write only what is marked, and is."""
    return sampling.caching.explicit and model.api in OPENAIS and bool(model.cache_marks)


def _in_order(messages: Sequence[Message], tools: Tools) -> Iterator[_Placed]:
    """As vendors read them: tools, instructions, and what was said."""
    yield from (_Placed(None, mark) for mark in tools.cache_marks)
    for is_instruction in (True, False):
        for position, message in enumerate(messages):
            if message.cache_marks and (message.role in INSTRUCTIONS) == is_instruction:
                yield from (_Placed(position, mark) for mark in message.cache_marks)


def _takes(model: Model, placed: _Placed, messages: Sequence[Message]) -> bool:
    """OpenAI takes none of the assistant's: "assistant output blocks are not among the block types OpenAI accepts a
    breakpoint on" (docs.langchain4j.dev, `OpenAiOfficialPromptCacheBreakpoint`, read 2026-11).
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
    """A long mark behind a short one is a short one: "a ttl='1h' cache_control block must not come after a ttl='5m'
    cache_control block" (github.com/cnighswonger/claude-code-cache-fix/issues/44, read 2026-11).
    """
    ordered: list[_Placed] = []
    for position, mark in marks:
        may_be_long = may_be_long and mark.long
        ordered.append(_Placed(position, CacheMark(mark.place, may_be_long)))
    return ordered


def _with_marks(message: Message, marks: tuple[CacheMark, ...]) -> Message:
    return message if message.cache_marks == marks else msgspec.structs.replace(message, cache_marks=marks)
