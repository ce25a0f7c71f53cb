"""Converts the items of a conversation into the project's own messages.

A client may send items in any order: the result of a call may come far behind the call, and an answer's text and calls
may stand apart. Here each answer becomes one message, followed by the results of its calls.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from api.formats.cache_marks import MarkField, fields_with_marks
from api.formats.responses.items import (
    AnyItem,
    CustomCallItem,
    CustomOutputItem,
    FunctionCallItem,
    FunctionOutputItem,
    MessageItem,
    ReasoningItem,
)
from api.formats.responses.offer import INPUT, Offer
from api.formats.responses.parts import (
    MARKABLE,
    AnyPart,
    Content,
    InputImage,
    SentBackRefusal,
    marks_of,
    without_marks,
)
from api.formats.responses.shell_items import (
    LocalShellCallItem,
    LocalShellOutputItem,
    PatchCallItem,
    PatchOutputItem,
    ShellCallItem,
    ShellOutputItem,
)
from api.formats.responses.traces import TRACES
from shared.chat import ImagePart, ImageUrl, Message, Part, TextPart, ToolCall
from shared.errors import InvalidRequest
from shared.thoughts import Thought

PARAGRAPH = "\n\n"
"""The text between the parts of a summary when they are joined."""
Results = dict[str | None, deque[Message]]
"""Results of calls by id; an id may occur again in a later answer."""


def entries_of(items: Iterable[AnyItem], offer: Offer) -> Iterator[Message]:
    """Each item as a message of its own; there must be no references. Raises `InvalidRequest` for an item that cannot be
    passed on.
    """
    call_ids: dict[str, str] = {}
    for place, item in enumerate(items):
        where = f"input[{place}]"
        if isinstance(item, LocalShellCallItem) and item.id:
            call_ids[item.id] = item.call_id
        if isinstance(item, MessageItem):
            yield Message(item.role, _content(item.content, where), cache_marks=marks_of(item.content))
        elif isinstance(item, ReasoningItem):
            yield Message("assistant", "", thoughts=(_thought(item),))
        elif (call := _call(item, offer)) is not None:
            yield Message("assistant", "", tool_calls=(call,))
        elif (result := _result(item, where, call_ids)) is not None:
            yield result


def marks_in(items: Iterable[AnyItem]) -> Iterator[MarkField]:
    """The fields with cache marks."""
    for item in items:
        content = getattr(item, "content", None) or getattr(item, "output", None)
        if isinstance(content, list):
            yield from fields_with_marks("input[].content[]", (part for part in content if isinstance(part, MARKABLE)))


def unmarked(items: Iterable[AnyItem]) -> list[AnyItem]:
    """The items in the form in which they are stored, without cache marks."""
    return [_unmarked(item) for item in items]


def _unmarked(item: AnyItem) -> AnyItem:
    match item:
        case MessageItem(content=content):
            return msgspec.structs.replace(item, content=without_marks(content))
        case FunctionOutputItem(output=output) | CustomOutputItem(output=output):
            return msgspec.structs.replace(item, output=without_marks(output))
        case _:
            return item


def traces_in(items: Iterable[AnyItem]) -> list[str]:
    """The names of items that are left out, such as `input[].web_search_call`."""
    return [f"input[].{item.__struct_config__.tag}" for item in items if isinstance(item, TRACES)]


def _thought(item: ReasoningItem) -> Thought:
    """The thought of an item; parts without text are skipped."""
    parts = item.summary if isinstance(item.summary, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    signature = item.encrypted_content
    return Thought(
        PARAGRAPH.join(text for text in texts if isinstance(text, str)),
        signature if isinstance(signature, str) else "",
    )


def _call(item: AnyItem, offer: Offer) -> ToolCall | None:
    match item:
        case FunctionCallItem():
            return ToolCall(item.call_id, offer.name_of(item.name, item.namespace), item.arguments)
        case CustomCallItem():
            return ToolCall(item.call_id, offer.name_of(item.name, item.namespace), _json({INPUT: item.input}))
        case LocalShellCallItem():
            return ToolCall(item.call_id, "local_shell", _json(item.action))
        case ShellCallItem():
            return ToolCall(item.call_id, "shell", _json(item.action))
        case PatchCallItem():
            return ToolCall(item.call_id, "apply_patch", _json(item.operation))
        case _:
            return None


def _result(item: AnyItem, where: str, call_ids: Mapping[str, str]) -> Message | None:
    """The result of a call. `call_ids` are ids of earlier calls by the ids of their items, which clients
    may send instead.
    """
    match item:
        case FunctionOutputItem() | CustomOutputItem():
            said, marks = _content(item.output, where), marks_of(item.output)
            return Message("tool", said, tool_call_id=item.call_id, cache_marks=marks)
        case LocalShellOutputItem():
            named = item.call_id or item.id or ""
            return Message("tool", item.output, tool_call_id=call_ids.get(named, named))
        case ShellOutputItem():
            return Message("tool", _json(item.output), tool_call_id=item.call_id)
        case PatchOutputItem():
            return Message("tool", item.output or item.status or "completed", tool_call_id=item.call_id)
        case _:
            return None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _content(content: Content, where: str) -> str | list[Part]:
    if isinstance(content, str):
        return content
    return _joined([_part(part, where) for part in content])


def _joined(parts: list[Part]) -> str | list[Part]:
    """The parts; a single text becomes a plain string."""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return parts or ""


def _part(part: AnyPart, where: str) -> Part:
    match part:
        case InputImage(image_url=str(url)):
            return ImagePart(ImageUrl(url))
        case InputImage():
            raise InvalidRequest(
                f"`{where}` has an image without `image_url`: send it as a data URL, no file is looked up.",
                param="input",
            )
        case SentBackRefusal(refusal):
            return TextPart(refusal)
        case _:
            return TextPart(part.text)


def put_together(entries: Sequence[Message]) -> list[Message]:
    """The messages, with each call followed by its result. Raises `InvalidRequest`, in OpenAI's words, for a call without a
    result, or the reverse.
    """
    results: Results = defaultdict(deque)
    for entry in entries:
        if entry.role == "tool":
            results[entry.tool_call_id].append(entry)
    messages: list[Message] = []
    turn = _Turn()
    for entry in entries:
        if not turn.goes_on_with(entry):
            messages += turn.whole(results)
            turn = _Turn()
        if entry.role == "assistant":
            turn.add(entry)
        elif entry.role != "tool":
            messages.append(entry)
    messages += turn.whole(results)
    left = next((call_id for call_id, waiting in results.items() if waiting), None)
    if left is not None:
        raise InvalidRequest(f"No tool call found for function call output with call_id {left[:256]}.", param="input")
    return messages


class _Turn:
    """One answer that arrives as several items."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._calls: dict[str, ToolCall] = {}
        self._thoughts: list[Thought] = []
        self._begun = False

    def goes_on_with(self, entry: Message) -> bool:
        """True if `entry` belongs to this answer. The result of an earlier call does not end the answer."""
        if entry.role == "tool":
            return entry.tool_call_id not in self._calls
        return entry.role == "assistant" or not self._begun

    def add(self, said: Message) -> None:
        """Add an entry. Raises `InvalidRequest` for a call that occurs twice."""
        self._begun = True
        for thought in said.thoughts:
            after_text = sum(len(part.text) for part in self._parts if isinstance(part, TextPart))
            place = {"after_text": after_text, "after_calls": len(self._calls)}
            self._thoughts.append(msgspec.structs.replace(thought, **place))
        if isinstance(said.content, list):
            self._parts += said.content
        elif said.content:
            self._parts.append(TextPart(said.content))
        for call in said.tool_calls:
            if call.id in self._calls:
                raise InvalidRequest("`input` has the same `call_id` twice in one answer.", param="input")
            self._calls[call.id] = call

    def whole(self, results: Results) -> list[Message]:
        """The answer and the results of its calls, which are taken out of `results`; empty if it has not begun."""
        if not self._begun:
            return []
        missing = next((call_id for call_id in self._calls if not results.get(call_id)), None)
        if missing is not None:
            raise InvalidRequest(f"No tool output found for function call {missing}.", param="input")
        if self._thoughts and not self._parts and not self._calls:
            return []  # the answer was cut off before its text
        calls = tuple(self._calls.values())
        answer = Message("assistant", _joined(self._parts), tool_calls=calls, thoughts=tuple(self._thoughts))
        return [answer, *(results[call_id].popleft() for call_id in self._calls)]
