"""The official `anthropic` client, and bodies for it."""

from __future__ import annotations

from typing import Any

from anthropic import APIStatusError, AsyncAnthropic

from tests.harness.caller import MODEL, Caller


def asked(text: str, **changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **changes}


def client_of(caller: Caller, **options: Any) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=caller.url(""), api_key=caller.key, **options)


def requests_made(error: APIStatusError) -> int:
    """The client numbers its attempts, the first as 0."""
    return int(error.request.headers["x-stainless-retry-count"]) + 1
