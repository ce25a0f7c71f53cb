"""The endpoints by which tests and proofs control the simulator; no vendor has them.

`GET /_calls?limit=` · `GET /_calls/count` · `GET /_calls/bill` · `GET /_calls/wait?count=&timeout_s=`, each with the
filters `key=`, `prefix=` (of the key), `ending=` (empty: calls that still run) and `sent=` (at least so many tokens) ·
`POST /_calls/reset` · `GET|POST /_defaults` · `GET|POST /_upstreams` · `POST /_plans` · `POST /_release?key=` · `GET
/healthz`
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from deploy.simulator import plans as planned
from deploy.simulator import script as scripts
from deploy.simulator.calls import Call, bill_of
from deploy.simulator.script import Script, ScriptError
from deploy.simulator.state import SIMULATOR
from deploy.simulator.upstreams import Condition
from shared.utf8 import NotUtf8, utf8

CALLS_SHOWN = 1_000


async def healthz(request: web.Request) -> web.Response:
    """Say that the process serves."""
    del request
    return _json({"status": "ok"})


async def calls(request: web.Request) -> web.Response:
    """List the newest calls, oldest of them first."""
    limit = int(request.query.get("limit", CALLS_SHOWN))
    return _json({"calls": _found(request)[-limit:] if limit else []})


async def count(request: web.Request) -> web.Response:
    """Count the calls."""
    return _json({"count": len(_found(request))})


async def bill(request: web.Request) -> web.Response:
    """The vendor's bill for the calls."""
    return _json({"bill": bill_of(_found(request))})


async def wait(request: web.Request) -> web.Response:
    """Answer as soon as that many calls are found; 408 at the deadline, with those found by then."""
    wanted = int(request.query.get("count", 1))
    deadline_s = float(request.query.get("timeout_s", 10))
    try:
        await request.app[SIMULATOR].calls.until(lambda _: len(_found(request)) >= wanted, deadline_s)
    except TimeoutError:
        return _json({"calls": _found(request)}, status=408)
    return _json({"calls": _found(request)})


async def reset(request: web.Request) -> web.Response:
    """Forget calls, spent faults, gates and upstreams' faults, and restore the defaults and plans of the start."""
    request.app[SIMULATOR].reset()
    return _json({"status": "ok"})


async def defaults(request: web.Request) -> web.Response:
    """Show the default script; with POST lay a JSON object over that of the process (`{}` restores it)."""
    simulator = request.app[SIMULATOR]
    if request.method == "POST":
        try:
            simulator.set_defaults(msgspec.json.decode(utf8(await request.read()), type=dict[str, object]))
        except NotUtf8 as error:
            return _json({"error": f"the body is {error}"}, status=400)
        except (ScriptError, msgspec.MsgspecError) as error:
            return _json({"error": str(error)}, status=400)
    return _json(simulator.defaults)


async def upstreams(request: web.Request) -> web.Response:
    """Show the conditions in force and how calls ended; POST puts one `Condition` in force."""
    simulator = request.app[SIMULATOR]
    if request.method == "POST":
        try:
            condition = msgspec.json.decode(utf8(await request.read()), type=Condition)
            scripts.overlay(condition.script, Script())
        except NotUtf8 as error:
            return _json({"error": f"the body is {error}"}, status=400)
        except (ScriptError, msgspec.MsgspecError) as error:
            return _json({"error": str(error)}, status=400)
        simulator.upstreams.set(condition)
    return _json({"in_force": simulator.upstreams.in_force(), "seen": simulator.calls.seen()})


async def plans(request: web.Request) -> web.Response:
    """Store one plan, replacing one with the same key; 400 says what is wrong with it."""
    try:
        request.app[SIMULATOR].plans.add(planned.read(await request.read()))
    except ScriptError as error:
        return _json({"error": str(error)}, status=400)
    return _json({"status": "ok"})


async def release(request: web.Request) -> web.Response:
    """Let the calls of a key pass their gate."""
    request.app[SIMULATOR].release(request.query.get("key", ""))
    return _json({"status": "ok"})


def _found(request: web.Request) -> list[Call]:
    sent, prefix = int(request.query.get("sent", 0)), request.query.get("prefix", "")
    found = request.app[SIMULATOR].calls.find(request.query.get("key"), request.query.get("ending"))
    return [call for call in found if call.tokens_sent >= sent and call.key.startswith(prefix)]


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
