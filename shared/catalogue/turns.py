"""Checks the order of turns for vendors with strict rules.

If a vendor refuses blank turns, these are left out (`workers/providers/wire/conversation.py`), so only the other turns
count. A blank last turn of the user asks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.catalogue.models import Model
from shared.chat import INSTRUCTIONS, Message


def is_blank(message: Message) -> bool:
    """True if the turn says nothing. The empty result of a tool is not blank: it says that the tool had no output."""
    said = message.role == "tool" or message.tool_calls or message.images()
    return not said and not message.text().strip()


def turn_fault(messages: Sequence[Message], model: Model, *, takes_blank: bool) -> tuple[str, str] | None:
    """The place of the first fault in `messages`, such as `[2].content`, and the fault in words; None if the model
    takes the turns.
    """
    if takes_blank:
        return None
    talk = [(place, message) for place, message in enumerate(messages) if message.role not in INSTRUCTIONS]
    spoken = [(place, message) for place, message in talk if not is_blank(message)]
    if not spoken:
        folds = model.system_prompt == "fold" and not all(is_blank(message) for message in messages)
        return None if folds else ("", f"needs a message of the user that is not blank for {model.name}")
    place, last = talk[-1]
    if last.role == "user" and is_blank(last) and spoken[-1][1].role == "assistant":
        return f"[{place}].content", f"is blank, and {model.name} refuses that: ask something"
    return _order_fault(spoken, model)


def _order_fault(spoken: Sequence[tuple[int, Message]], model: Model) -> tuple[str, str] | None:
    """Check the order of turns. Gemini: "function call turn comes immediately after a user turn or after a function
    response turn" (its error, read 2026-11). Converse: "A conversation must start with a user message", and `prefill` in
    the catalogue.
    """
    (first_place, first), (last_place, last) = spoken[0], spoken[-1]
    if first.role == "assistant" and (model.api == "bedrock-converse" or (model.api == "gemini" and first.tool_calls)):
        return f"[{first_place}]", f"is the first: {model.name} needs one of the user before it"
    if model.api == "bedrock-converse" and last.role == "assistant" and not model.prefill:
        return (
            f"[{last_place}]",
            f"is the last: {model.name} needs one of the user there, and cannot continue the assistant's",
        )
    return None
