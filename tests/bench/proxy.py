"""What Python can do at best: an aiohttp reverse proxy without keys, money, queue or journal."""

from __future__ import annotations

import argparse

import aiohttp
import uvloop
from aiohttp import web

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)


async def forward(request: web.Request) -> web.StreamResponse:
    """Ask the upstream the same; send on what comes, as it comes."""
    url, body = request.app[UPSTREAM] + request.path, await request.read()
    headers = {"Content-Type": "application/json", "Authorization": request.headers.get("Authorization", "")}
    async with request.app[SESSION].post(url, data=body, headers=headers) as upstream:
        if upstream.content_length is not None:
            return web.Response(body=await upstream.read(), content_type=upstream.content_type)
        answer = web.StreamResponse(headers={"Content-Type": upstream.headers["Content-Type"]})
        await answer.prepare(request)
        async for data in upstream.content.iter_any():
            await answer.write(data)
        await answer.write_eof()
        return answer


async def application(upstream: str) -> web.Application:
    """With one session for all requests."""
    app = web.Application(client_max_size=20_000_000)
    app[UPSTREAM] = upstream
    app[SESSION] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    app.router.add_post("/v1/chat/completions", forward)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    given = parser.parse_args()
    web.run_app(
        application(given.upstream),
        host="127.0.0.1",
        port=given.port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
