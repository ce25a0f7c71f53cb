"""Estimates how much memory a request takes once it is decoded. The number of its bytes alone does not say that.

160,000 empty lists in a tool's schema are 160 KB in transit and 32 MB once decoded. One emoji makes a text of three
million letters four times as large.
"""

from __future__ import annotations

import sys

import msgspec

from shared.chat import Chat, Message, Sampling, TextPart, Tools
from shared.json_bounds import nodes_of

NODE_BYTES = 50
"""Bytes in memory of one value of a schema."""
PART_BYTES = 25
"""Bytes in memory of one part of a message beside its text. Both numbers are measured (2026-11) and divided by the
number of copies that a worker makes of a plain payload, because the whole footprint is multiplied by that number
(`workers/loop/large_jobs.py`).
"""


def footprint_of(chat: Chat) -> int:
    """The footprint, as the bytes of a plain-text payload that would take as much memory."""
    return sum(map(_of_message, chat.messages)) + _of_schemas(chat.sampling, chat.tools)


def _of_message(message: Message) -> int:
    calls = sum(PART_BYTES + sys.getsizeof(call.arguments) for call in message.tool_calls)
    calls += sum(PART_BYTES + sys.getsizeof(one.text) + sys.getsizeof(one.signature) for one in message.thoughts)
    if isinstance(message.content, str):
        return calls + PART_BYTES + sys.getsizeof(message.content)
    texts = (part.text if isinstance(part, TextPart) else part.image_url.url for part in message.content)
    return calls + sum(PART_BYTES + sys.getsizeof(text) for text in texts)


def _of_schemas(sampling: Sampling, tools: Tools) -> int:
    if not tools.offered and sampling.json_answer is None:
        return 0
    text = msgspec.json.encode((tools, sampling.json_answer))
    return len(text) + NODE_BYTES * nodes_of(text)
