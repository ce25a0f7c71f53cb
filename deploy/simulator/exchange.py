"""One call, step by step, the same for every vendor: read it, find the script, check the vendor's rules, answer or
misbehave.

A vendor is a `Dialect`: it knows its JSON, its rules and its errors, and nothing about scripts, time or connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from deploy.simulator import acts, answer, player, tools
from deploy.simulator.acts import Wire
from deploy.simulator.answer import NOTHING, Hit, Piece, Reply, Usage
from deploy.simulator.befallen import befallen, dead
from deploy.simulator.caching import Prompt
from deploy.simulator.calls import Call
from deploy.simulator.script import Said, Script, ScriptError, last_of_user
from deploy.simulator.state import SIMULATOR, Directions, Simulator
from deploy.simulator.tools import AskedTools
from deploy.simulator.upstreams import payer_of

HTML_PAGE = (
    b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>\n"
)


class Refusal(Exception):
    """A vendor's error answer: HTTP status, the vendor's code and kind, and the words."""

    def __init__(self, status: int, code: str | None, message: str, kind: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind
        self.param = param
        self.retry_after = 0.0

    def recoded(self, script: Script) -> Refusal:
        """Copy it with the code and the retry hint of a script."""
        return self._copy(script.code or self.code, script.retry_after)

    def to_wait(self, seconds: float) -> Refusal:
        """Copy it with a retry hint."""
        return self._copy(self.code, seconds)

    def _copy(self, code: str | None, retry_after: float) -> Refusal:
        refusal = Refusal(self.status, code, self.message, self.kind, self.param)
        refusal.retry_after = retry_after
        return refusal


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request in its vendor's form; `talk` is the conversation. `thinks`: the model would think about it. `tier` is
    the service tier that it asks for, empty for the default; `full` is the refusal if that tier has no capacity.
    """

    model: str
    talk: tuple[Said, ...]
    prompt_tokens: int
    limit: int
    stops: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = True
    body: Any = None
    asked: AskedTools = AskedTools()
    thinks: bool = False
    tier: str = ""
    full: Refusal | None = None
    prompt: Prompt | None = None
    """The prompt for the vendor's cache; None if the vendor keeps nothing of it."""

    @property
    def message(self) -> str:
        """The user's last text."""
        return last_of_user(self.talk)


class Told(msgspec.Struct, frozen=True):
    """Everything that an answer is made from; `usage` are the counts that the vendor reports, None if they are missing."""

    question: Question
    reply: Reply
    usage: Usage | None
    script: Script
    ordinal: int

    @property
    def tier(self) -> str:
        """The service tier that serves the call."""
        asked = self.question.tier
        return (self.script.served or asked if asked else "") or "default"


class Dialect(Protocol):
    """One vendor's API: reads requests, refuses them, and forms answers."""

    api: str
    refusals: Mapping[int, Refusal]
    wrong_key: Refusal
    no_credit: Refusal
    retired: Refusal
    blocked: Refusal | None
    above_limit: Refusal | None
    stream_type: str

    def read(self, request: web.Request, raw: bytes) -> Question:
        """Understand a request; raises `Refusal` when it is unauthorised or not the vendor's JSON."""

    def check(self, question: Question) -> None:
        """Check a request against the vendor's rules; raises `Refusal`."""

    def refuse(self, refusal: Refusal) -> web.Response:
        """A refusal."""

    def headers(self, told: Told) -> dict[str, str]:
        """The headers of an answer, without the content type."""

    def body(self, told: Told) -> bytes:
        """The whole answer in JSON."""

    def wire(self, told: Told) -> Wire:
        """The answer in parts."""

    def complaint(self, refusal: Refusal) -> bytes:
        """The error object that may stand in a 200."""


async def serve(request: web.Request, dialect: Dialect) -> web.StreamResponse:
    """Serve one call and log it."""
    simulator, payer = request.app[SIMULATOR], payer_of(request, dialect.api)
    with simulator.calls.record(dialect.api, payer) as call:
        try:
            met = simulator.upstreams.meet(payer)
            if met.dead:
                return dead(request, call)
            question = dialect.read(request, await request.read())
            directions = _directions(simulator, question, call, met.script)
            script = directions.script
            if met.silent:
                call.prompt_tokens = question.prompt_tokens
            if met.silent or met.refused:
                return await befallen(dialect, met, call)
            if script.status not in {0, 200} and not script.fault:
                return _refused(call, dialect, dialect.refusals[script.status].recoded(script), "fault")
            dialect.check(question)
            if question.full and simulator.is_full(script):
                return _refused(call, dialect, question.full.recoded(script), "full")
            return await _answer(request, dialect, question, directions, call, met.headers)
        except Refusal as refusal:
            return _refused(call, dialect, refusal, "refused")


def composed(question: Question, directions: Directions, call: Call, hit: Hit = NOTHING) -> Told:
    """Compose the answer of a call, empty if it is blocked, and log its true counts."""
    script, pieces = directions.script, list[Piece]()
    if script.fault == "blocked":
        script = msgspec.structs.replace(script, tokens=0, reasoning=0)
    else:
        pieces = tools.pieces(question.model, question.message, script, question.asked, directions.turn)
    reply = answer.reply(pieces, question.prompt_tokens, script, question.limit, question.stops, hit)
    call.prompt_tokens, call.output_tokens = reply.prompt_tokens, reply.output_tokens
    told = Told(question, reply, answer.usage_of(reply, script), script, call.ordinal)
    call.tier = told.tier
    return told


def fault_refusal(dialect: Dialect, script: Script) -> Refusal:
    """The refusal that an error event in a stream names."""
    return dialect.refusals[script.status if script.status in dialect.refusals else 500].recoded(script)


def _directions(simulator: Simulator, question: Question, call: Call, befalls: str) -> Directions:
    call.model, call.stream, call.thinks = question.model, question.stream, question.thinks
    try:
        directions = simulator.directions_for(question.talk, parallel=question.asked.parallel, befalls=befalls)
    except ScriptError as error:
        raise Refusal(400, None, str(error)) from None
    call.fault = directions.script.fault
    simulator.calls.name(call, directions.script.key)
    return directions


def _refused(call: Call, dialect: Dialect, refusal: Refusal, ending: str) -> web.Response:
    call.status, call.ending = refusal.status, ending
    return dialect.refuse(refusal)


async def _answer(
    request: web.Request,
    dialect: Dialect,
    question: Question,
    directions: Directions,
    call: Call,
    limits: Mapping[str, str],
) -> web.StreamResponse:
    script = directions.script
    match script.fault:
        case "html":
            call.status, call.ending = script.status or 502, "fault"
            return web.Response(status=call.status, body=HTML_PAGE, content_type="text/html")
        case "retired":
            return _refused(call, dialect, dialect.retired, "fault")
        case "blocked" if dialect.blocked is not None:
            return _refused(call, dialect, dialect.blocked, "fault")
        case "above_limit" if dialect.above_limit is not None:
            return _refused(call, dialect, dialect.above_limit, "fault")
        case _:
            told = composed(question, directions, call, _cached(request.app[SIMULATOR], question, script))
            response = await _perform(request, dialect, told, call, limits)
            call.ending = "fault" if script.fault else "completed"
            return response


def _cached(simulator: Simulator, question: Question, script: Script) -> Hit:
    if question.prompt is None or not script.cache:
        return NOTHING
    prompt = question.prompt
    return simulator.cache.ask(prompt.owner, prompt.pieces(), prompt.policy)


async def _perform(
    request: web.Request, dialect: Dialect, told: Told, call: Call, limits: Mapping[str, str]
) -> web.StreamResponse:
    stream = told.question.stream
    headers = {**dialect.headers(told), **limits, "Content-Type": dialect.stream_type if stream else "application/json"}
    if stream:
        played = acts.streamed(dialect.wire(told), told.reply, told.script)
    else:
        played = acts.whole(
            dialect.body(told), dialect.complaint(fault_refusal(dialect, told.script)), told.reply, told.script
        )
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    stage = player.HttpStage(request, response, split=told.script.split)
    await player.play(played, stage, call, request.app[SIMULATOR])
    return response
