"""`POST /v1/chat/completions`: a chat request in OpenAI's form."""

from __future__ import annotations

from aiohttp import web

from api.formats.openai.chat import parse_completion
from api.serving import serve


async def post_completions(request: web.Request) -> web.StreamResponse:
    """Answer a chat request with a completion, or with a stream of its chunks."""
    return await serve(request, parse_completion)
