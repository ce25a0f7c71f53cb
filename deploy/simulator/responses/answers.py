"""A response as JSON: its output items one by one, and the whole with its status and tokens.

Source: OpenAI's API reference and openai-python 3.54 (read 2026-11).
"""

from __future__ import annotations

import time
from typing import Any

from deploy.simulator import answer
from deploy.simulator.answer import Usage
from deploy.simulator.exchange import Told
from deploy.simulator.openai.wire import call_id
from deploy.simulator.responses.body import ENCRYPTED, ResponsesRequest
from deploy.simulator.responses.sealed import MESSAGE, Sealed, seal

Json = dict[str, Any]
FAILED = {"failed", "cancelled"}
INCOMPLETE = {"length": "max_output_tokens"}


class Items:
    """The output items of one answer: thoughts, a message, calls."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.body: ResponsesRequest = told.question.body
        self.calls = told.reply.calls
        self.thinks = told.question.thinks
        spent = told.reply.ending == "length" and not told.reply.pieces
        self.speaks = bool(told.reply.text) or not (self.calls or (spent and self.thinks))
        """True if there is a message; an answer without anything else has an empty one."""

    def all(self) -> list[Json]:
        """Every item, complete."""
        thought = [self.reasoning()] if self.thinks else []
        said = [self.message()] if self.speaks else []
        return [*thought, *said, *(self.call(place) for place in range(len(self.calls)))]

    def reasoning(self, *, begun: bool = False) -> Json:
        """The thoughts: with a summary and with encrypted content, each if it was asked for; with `begun` without both."""
        item_id = f"rs_{self.told.ordinal:048x}"
        item: Json = {"id": item_id, "type": "reasoning", "summary": []}
        if not begun and self.body.summarises and self.summary:
            item["summary"] = [{"type": "summary_text", "text": self.summary}]
        if not begun and ENCRYPTED in (self.body.include or ()):
            item["encrypted_content"] = seal(Sealed(item_id, self._followed_by()))
        return item

    @property
    def summary(self) -> str:
        """The text of the summary."""
        return "".join(answer.thoughts(self.told.reply.reasoning))

    def message(self, *, begun: bool = False) -> Json:
        """The message."""
        content = [] if begun else [self.text(self.told.reply.text)]
        status = "in_progress" if begun else self.status()
        return {"id": f"msg_{self.told.ordinal:048x}", "type": "message", "status": status, "role": "assistant"} | {
            "content": content,
            "phase": "commentary" if self.calls else "final_answer",
        }

    def text(self, text: str) -> Json:
        """The text part of a message."""
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def call(self, place: int, *, begun: bool = False) -> Json:
        """One call."""
        call = self.calls[place]
        return {
            "id": f"fc_{self.told.ordinal:044x}{place:04x}",
            "type": "function_call",
            "status": "in_progress" if begun else self.status(),
            "call_id": call_id(self.told, place),
            "name": call.name,
            "arguments": "" if begun else call.arguments,
        }

    def status(self) -> str:
        """The status of the last item and of the whole response."""
        if self.told.script.finish in FAILED:
            return self.told.script.finish
        return "completed" if self.incomplete() is None else "incomplete"

    def incomplete(self) -> str | None:
        """The reason for which the answer ended early."""
        return self.told.script.finish or INCOMPLETE.get(self.told.reply.ending)

    def _followed_by(self) -> str:
        if self.speaks:
            return MESSAGE
        return call_id(self.told, 0) if self.calls else ""


def response(items: Items, *, begun: bool = False) -> Json:
    """The response; with `begun` it is still empty."""
    told, body = items.told, items.body
    reason = None if begun or items.status() in FAILED else items.incomplete()
    return {
        "id": f"resp_{told.ordinal:048x}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress" if begun else items.status(),
        "background": False,
        "error": {"code": "server_error", "message": "The model failed."} if items.status() == "failed" else None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": told.question.model,
        "output": [] if begun else items.all(),
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": body.effort, "summary": body.reasoning and body.reasoning.summary},
        "service_tier": told.tier,
        "store": body.store is not False,
        "temperature": body.temperature or 1.0,
        "text": {"format": {"type": body.form.type}, "verbosity": "medium"},
        "tool_choice": body.tool_choice if isinstance(body.tool_choice, str) else "auto",
        "tools": [],
        "top_p": body.top_p or 1.0,
        "truncation": "disabled",
        "usage": None if begun or told.usage is None else tokens(told.usage),
        "user": body.user,
        "metadata": {},
    }


def tokens(usage: Usage) -> Json:
    """The usage object: cached and written tokens are part of the input's, reasoning of the output's."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.written,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": usage.written - usage.written_long,
                "ttl_12h_tokens": usage.written_long,
            },
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
