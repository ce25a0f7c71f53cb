"""Decides whether a model that counts its thinking tokens can think in a request: the output limit must leave room, and
the conversation must be one that its vendor continues with thinking. Other models need neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

from shared.catalogue.models import Model
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import INSTRUCTIONS, Message, Tools
from shared.thoughts import Thought

ANSWER_SHARE = 4
"""The divisor of the output limit: this fraction of it is kept for the answer."""


def thinking_room(output_limit: int) -> int:
    """The most tokens of an output limit that may be thoughts."""
    return output_limit - output_limit // ANSWER_SHARE


def least_output(model: Model) -> int:
    """The smallest output limit with which the model can think."""
    least = vendor_limits(model).thinking_tokens_min or 0
    return (least - 1) * ANSWER_SHARE // (ANSWER_SHARE - 1) + 1


def can_go_on_thinking(
    model: Model, messages: Sequence[Message], tools: Tools, is_own: Callable[[Thought], bool]
) -> bool:
    """True if the model may think while it continues this conversation. It may not continue an answer that has begun, nor
    calls without a thought before them that `is_own`. Claude says: "Expected `thinking` or `redacted_thinking`, but found
    `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block"
    (github.com/anomalyco/opencode/issues/3077, read 2026-11).
    """
    if vendor_limits(model).thinking_tokens_min is None:
        return True
    newest_first = [message for message in reversed(messages) if message.role not in INSTRUCTIONS]
    if newest_first and newest_first[0].role == "assistant":
        return False
    asked = list(takewhile(lambda message: message.role != "assistant", newest_first))
    if not tools.may_be_called() or not any(message.role == "tool" for message in asked):
        return True  # without tools on offer, calls and results are sent as text
    answer = list(takewhile(lambda message: message.role == "assistant", newest_first[len(asked) :]))
    said = [message for message in reversed(answer) if message.text().strip() or message.tool_calls or message.thoughts]
    return bool(said) and _begins_with_thought(said[0], is_own)


def _begins_with_thought(answer: Message, is_own: Callable[[Thought], bool]) -> bool:
    first = next(filter(is_own, answer.thoughts), None)
    return first is not None and not first.after_calls and not answer.text()[: first.after_text].strip()
