"""Refuses Anthropic's message threads, in which the server keeps the conversation.

The tool runners of Anthropic's clients ask for a thread by themselves, and repeat the request without one if the refusal
has Anthropic's own code (`_unsupported_features` in `anthropic/lib/threads/_thread_state.py` of 2.14, read 2026-11).
"""

from __future__ import annotations

from shared.errors import InvalidRequest

FIELD = "thread"


class ThreadUnsupported(InvalidRequest):
    """`thread` is not available: send the whole conversation with every request."""

    code = "thread_unsupported_request"
    advice = "Leave `thread` out, and send all of the conversation in `messages`."


def refuse_thread(thread: object) -> None:
    """Raise `ThreadUnsupported` for anything but null."""
    if thread is not None:
        raise ThreadUnsupported(
            "`thread` is not available here: leave it out, and send all of the conversation in `messages`.",
            unsupported=FIELD,
        )
