"""`POST /api/endpoint`: a chat request in the native form."""

from __future__ import annotations

from aiohttp import web

from api.formats.native import chat as native
from api.serving import serve


async def post_endpoint(request: web.Request) -> web.StreamResponse:
    """Answer a chat request as JSON, raw text or server-sent events; with `Prefer: respond-async` the answer is a 202 that
    says where to look.
    """
    return await serve(request, native.parse_chat_request, may_respond_async=True)
