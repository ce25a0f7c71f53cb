"""Anthropic's message threads, in which the server keeps the conversation: there are none here.

The tool runners of Anthropic's clients ask for one by themselves, and repeat the request without it where the refusal has
Anthropic's own code (`_unsupported_features` in `anthropic/lib/threads/_thread_state.py` of 2.14, read 2026-11).
"""

from __future__ import annotations

from shared.errors import InvalidRequest

FIELD = "thread"


class ThreadUnsupported(InvalidRequest):
    """`thread` is not there: the conversation is sent whole with every request."""

    code = "thread_unsupported_request"
    advice = "Leave `thread` out, and send all of the conversation in `messages`."


def refuse_thread(thread: object) -> None:
    """Raises `ThreadUnsupported` for anything but null."""
    if thread is not None:
        raise ThreadUnsupported(
            "`thread` is not available here: leave it out, and send all of the conversation in `messages`.",
            unsupported=FIELD,
        )
