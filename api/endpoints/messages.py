"""`POST /v1/messages`: a chat request in the form of Anthropic's Messages API."""

from __future__ import annotations

from aiohttp import web

from api.formats.anthropic import chat as anthropic
from api.serving import serve


async def post_messages(request: web.Request) -> web.StreamResponse:
    """A message, or the events of one; `anthropic-version` and `anthropic-beta` are accepted and change nothing."""
    return await serve(request, anthropic.parse_message)
