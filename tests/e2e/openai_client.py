"""The official client of OpenAI's API, and how many requests it makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import openai
from openai import AsyncOpenAI

from tests.harness.caller import MODEL, Caller


def asking(text: str, **fields: Any) -> dict[str, Any]:
    """A body, or the arguments of the client."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


class Counted(NamedTuple):
    """A client, and what it has sent so far."""

    client: AsyncOpenAI
    sent: list[str]


@asynccontextmanager
async def client_of(caller: Caller, **options: Any) -> AsyncIterator[Counted]:
    sent: list[str] = []

    async def note(request: Any) -> None:
        sent.append(str(request.url))

    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [note]})
    fields = {"api_key": caller.key, "base_url": caller.url("/v1"), "http_client": http, **options}
    async with AsyncOpenAI(**fields) as client:
        yield Counted(client, sent)
