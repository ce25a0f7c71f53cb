"""Moves images out of tool results, for vendors that take only text there: they follow in a message that says which results
they belong to.
"""

from __future__ import annotations

import msgspec

from shared.catalogue.models import Model
from shared.catalogue.tool_limits import tool_limits
from shared.chat import Message, Part, TextPart

ONLY_IMAGES = "(see the image)"
"""The text of a result that had only images."""


def beside(messages: list[Message], model: Model) -> list[Message]:
    """The messages, with the images of each group of results in a user message right after the group."""
    if tool_limits(model).images_in_results or not any(m.role == "tool" and m.images() for m in messages):
        return messages
    moved: list[Message] = []
    waiting: list[Part] = []
    names: dict[str | None, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if waiting and message.role != "tool":
            moved.append(Message("user", waiting))
            waiting = []
        if message.role == "tool" and (images := message.images()):
            called = f"{names.get(message.tool_call_id, 'a tool')} ({message.tool_call_id})"
            waiting += [TextPart(f"Images in the result of {called}:"), *images]
            message = msgspec.structs.replace(message, content=message.text() or ONLY_IMAGES)  # noqa: PLW2901
        moved.append(message)
    return [*moved, Message("user", waiting)] if waiting else moved
