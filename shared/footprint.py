"""How much memory a question takes where it is decoded, which its bytes alone do not say.

160,000 empty lists in a tool's schema are 160 KB as they travel, and 32 MB where they are understood; one emoji makes a text
of three million letters four times as large.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec

from shared.chat import Message, Sampling, TextPart, Tools
from shared.json_bounds import nodes_of

NODE_BYTES = 50
"""A value of a schema."""
PART_BYTES = 25
"""A part of a message, beside its text. Both are measured (2026-11) and divided by the copies that a worker makes of a plain
payload, because all of it is multiplied by those (`workers/loop/large_jobs.py`).
"""


def footprint_of(messages: Sequence[Message], sampling: Sampling, tools: Tools) -> int:
    """In bytes of a payload of plain text that would take as much."""
    return sum(map(_of_message, messages)) + _of_schemas(sampling, tools)


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
