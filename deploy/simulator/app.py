"""The simulator as an aiohttp application: the URL map, and a way to run it inside a test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from deploy.simulator import control
from deploy.simulator import script as scripts
from deploy.simulator.bedrock import converse as bedrock_converse
from deploy.simulator.bedrock import invoke as bedrock_invoke
from deploy.simulator.calls import CallLog
from deploy.simulator.gemini import gemini
from deploy.simulator.openai import chat as openai_chat
from deploy.simulator.openai import deepseek
from deploy.simulator.openai import realtime as openai_realtime
from deploy.simulator.plans import Plan
from deploy.simulator.responses import responses as openai_responses
from deploy.simulator.script import Script
from deploy.simulator.state import SIMULATOR, Simulator

BODY_BYTES_MAX = 512 * 1024 * 1024
STOP_S = 0.5
QUICK = Script(first_ms=0, pace_ms=0, cache=False)
"""The default script of tests: no delays and no cached prompts."""


class Running(msgspec.Struct, frozen=True):
    """A running simulator. `url` has no trailing slash; each vendor's base URL is the property with its name."""

    url: str
    simulator: Simulator

    @property
    def calls(self) -> CallLog:
        """The log of calls."""
        return self.simulator.calls

    def at(self, region: str) -> Running:
        """This simulator under the addresses that the vendors have in a region."""
        return Running(f"{self.url}/at/{region}", self.simulator)

    @property
    def openai(self) -> str:
        """`OPENAI_BASE_URL`."""
        return f"{self.url}/v1"

    @property
    def deepseek(self) -> str:
        """`DEEPSEEK_BASE_URL`."""
        return f"{self.url}/deepseek"

    @property
    def bedrock(self) -> str:
        """`AWS_ENDPOINT_URL_BEDROCK_RUNTIME`."""
        return f"{self.url}/bedrock"

    @property
    def gemini(self) -> str:
        """`GOOGLE_GEMINI_BASE_URL`."""
        return f"{self.url}/gemini"


def create_app(defaults: Script | None = None, plans: tuple[Plan, ...] = ()) -> web.Application:
    """Build the application; without defaults it takes them from `SIM_*` in the environment."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[SIMULATOR] = Simulator(scripts.from_environment(os.environ) if defaults is None else defaults, plans)
    app.add_routes([*_vendors(""), *_vendors("/at/{region:[A-Za-z0-9-]+}")])
    app.add_routes(
        [
            web.get("/healthz", control.healthz),
            web.get("/_calls", control.calls),
            web.get("/_calls/count", control.count),
            web.get("/_calls/bill", control.bill),
            web.get("/_calls/wait", control.wait),
            web.post("/_calls/reset", control.reset),
            web.get("/_defaults", control.defaults),
            web.post("/_defaults", control.defaults),
            web.get("/_upstreams", control.upstreams),
            web.post("/_upstreams", control.upstreams),
            web.post("/_plans", control.plans),
            web.post("/_release", control.release),
        ]
    )
    return app


def _vendors(prefix: str) -> list[web.RouteDef]:
    return [
        web.post(f"{prefix}/v1/chat/completions", openai_chat.chat_completions),
        web.post(f"{prefix}/v1/responses", openai_responses.responses),
        web.get(f"{prefix}/v1/models", openai_chat.list_models),
        web.get(f"{prefix}/v1/realtime", openai_realtime.realtime),
        web.post(f"{prefix}/deepseek/chat/completions", deepseek.chat_completions),
        web.post(f"{prefix}/deepseek/v1/chat/completions", deepseek.chat_completions),
        web.post(prefix + "/bedrock/model/{model}/{call:converse(-stream)?}", bedrock_converse.converse),
        web.post(prefix + "/bedrock/model/{model}/{call:invoke(-with-response-stream)?}", bedrock_invoke.invoke),
        web.post(
            prefix + "/gemini/{version}/models/{model}:{method:(generate|streamGenerate)Content}", gemini.generate
        ),
    ]


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve the application and give its port; a client that leaves cancels its call at once."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=STOP_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=4096, reuse_address=True)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_simulator(defaults: Script = QUICK, host: str = "127.0.0.1") -> AsyncIterator[Running]:
    """Run a simulator on a free port inside the current event loop."""
    app = create_app(defaults)
    async with listening(app, host, 0) as port:
        yield Running(f"http://{host}:{port}", app[SIMULATOR])
