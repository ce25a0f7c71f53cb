"""The input tokens of a request before a vendor counts them: an upper bound, for which credit is held, and an estimate."""

from __future__ import annotations

import msgspec

from shared.answer_tool import answer_tool
from shared.chat import Chat
from shared.money import divide_up

TOKENS_PER_MESSAGE_BOUND = 8
"""The most tokens that a vendor's chat template adds to one message."""
TOKENS_PER_TOOL_BOUND, TOKENS_FOR_TOOLS_BOUND = 64, 1_024
"""The most tokens that a template adds to one tool's definition, or to a call and its result; and the most that hidden
instructions for tools or for an answer's schema take. Anthropic documents 159 to 530 tokens of these
(docs.claude.com/en/docs/agents-and-tools/tool-use, read 2026-11). A name that a vendor does not take grows by at most 10
bytes, an id by 16 (`workers/providers/wire/identifiers.py`).
"""
TOKENS_PER_RESULT_BOUND = 96
"""The most tokens of a tool result beside its text: if calls are sent as text, the tool's name is repeated in the
result.
"""
BYTES_PER_TOKEN = 4
"""Average UTF-8 bytes per token: about right for Latin, Chinese, Japanese and Korean text."""
TEMPLATE_TOKENS_PER_MESSAGE = 4
TYPICAL_IMAGE_TOKENS = 1_600
"""Estimated tokens of one image if no vendor counted it; a row's bound may be a hundred times as much."""
TOKENS_FOR_RESULT_IMAGES_BOUND = 128
"""The most tokens, without the call's id, of the text that introduces images which are sent beside a tool's result
(`workers/providers/wire/result_images.py`).
"""


def input_bound(chat: Chat, tokens_per_image: int | None) -> int:
    """An upper bound of the input tokens: no tokenizer makes more tokens of a text than the text has UTF-8 bytes. An
    answer's schema counts as a tool, because some models are given it as one. Models that take no images have no
    `tokens_per_image`.
    """
    messages, answer, tools = chat.messages, chat.sampling.json_answer, chat.tools
    talk = sum(
        message.bytes_in() + TOKENS_PER_MESSAGE_BOUND + len(message.images()) * (tokens_per_image or 0)
        for message in messages
    )
    talk += sum(TOKENS_PER_TOOL_BOUND * len(message.tool_calls) for message in messages)
    talk += sum(TOKENS_PER_RESULT_BOUND for message in messages if message.role == "tool")
    shown = [len(message.tool_call_id or "") for message in messages if message.role == "tool" and message.images()]
    talk += sum(shown) + len(shown) * (TOKENS_PER_MESSAGE_BOUND + TOKENS_FOR_RESULT_IMAGES_BOUND)
    sent = (*tools.offered, answer_tool(answer)) if answer else tools.offered
    if not sent:
        return talk
    return talk + len(msgspec.json.encode(sent)) + len(sent) * TOKENS_PER_TOOL_BOUND + TOKENS_FOR_TOOLS_BOUND


def estimated_input(chat: Chat, tokens_per_image: int | None) -> int:
    """An estimate of the input tokens, at least 1, for calls that no vendor has counted."""
    text = sum(message.bytes_in() for message in chat.messages) + _bytes_of_tools(chat)
    per_image = min(tokens_per_image or 0, TYPICAL_IMAGE_TOKENS)
    images = sum(len(message.images()) for message in chat.messages) * per_image
    return max(1, divide_up(text, BYTES_PER_TOKEN) + TEMPLATE_TOKENS_PER_MESSAGE * len(chat.messages) + images)


def _bytes_of_tools(chat: Chat) -> int:
    """Bytes of the definitions of tools and of the answer as JSON; 0 when there are none."""
    offered, answer = chat.tools.offered, chat.sampling.json_answer
    return (len(msgspec.json.encode(offered)) if offered else 0) + (len(msgspec.json.encode(answer)) if answer else 0)
