"""OpenAI Realtime over WebSocket: `/v1/realtime?model=…`, text turns in the GA form.

If the defaults script a refusal (`status`, `html`), the handshake gets it. If a directive scripts one,
`response.create` gets an `error` event, because the directive arrives only with the user's item.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from deploy.simulator import acts, answer, player
from deploy.simulator import script as scripts
from deploy.simulator.befallen import befallen, dead
from deploy.simulator.calls import Call
from deploy.simulator.exchange import HTML_PAGE, Question, Refusal, composed
from deploy.simulator.openai import rules
from deploy.simulator.openai.chat import OPENAI_CHAT, check_bearer
from deploy.simulator.openai.realtime_client import (
    ClientEvent,
    Item,
    ResponseOptions,
    SessionUpdate,
    check_item,
    read_session,
)
from deploy.simulator.openai.realtime_events import RealtimeWire, error_event, event
from deploy.simulator.openai.realtime_stage import SocketStage
from deploy.simulator.openai.values import INVALID
from deploy.simulator.script import Said, Script, ScriptError
from deploy.simulator.state import SIMULATOR, Directions, Simulator
from deploy.simulator.upstreams import Payer, payer_of

API = "openai-realtime"
CONTEXT = {
    "gpt-4o-realtime-preview-2024-12-17": 32_000,
    "gpt-4o-realtime-preview": 32_000,
    "gpt-4o-mini-realtime-preview-2024-12-17": 16_000,
    "gpt-4o-mini-realtime-preview": 16_000,
    "gpt-realtime": 32_000,
    "gpt-realtime-mini": 32_000,
    "gpt-realtime-2.1": 128_000,
    "gpt-realtime-2.1-mini": 128_000,
}
OUTPUT_MAX = 4_096
_UNKNOWN_MODEL = 4000


class Session:
    """One socket: its settings, its conversation and at most one response in progress."""

    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, model: str, payer: Payer, befalls: str
    ) -> None:
        """`befalls` is the fault that every turn of the session has."""
        self._payer = payer
        self._befalls = befalls
        self._request = request
        self._socket = socket
        self._simulator: Simulator = request.app[SIMULATOR]
        self._model = model
        self._settings = SessionUpdate(type="realtime", instructions="", output_modalities=["audio"])
        self._items: list[Item] = []
        self._responding: asyncio.Task[None] | None = None
        self._in_progress: tuple[RealtimeWire, Call] | None = None

    async def run(self) -> None:
        """Answer events until the client leaves; a response still in progress is then cancelled."""
        await self._send(event("session.created", session=self._session_json()))
        async with asyncio.TaskGroup() as tasks:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._handle(message.data, tasks)
            if self._responding is not None:
                self._responding.cancel()

    async def _handle(self, text: str, tasks: asyncio.TaskGroup) -> None:
        try:
            client_event = msgspec.json.decode(text, type=ClientEvent)
            match client_event.type:
                case "session.update":
                    await self._update(client_event.session)
                case "conversation.item.create" if client_event.item is not None:
                    await self._add(client_event.item)
                case "response.create":
                    self._start(client_event.response or ResponseOptions(), tasks)
                case "response.cancel":
                    await self._cancel()
                case unknown:
                    await self._send(
                        error_event(Refusal(400, "invalid_value", f"Invalid value: '{unknown}'.", INVALID))
                    )
        except msgspec.MsgspecError as error:
            await self._send(error_event(Refusal(400, "invalid_event", str(error), INVALID)))
        except Refusal as refusal:
            await self._send(error_event(refusal))

    async def _update(self, raw: msgspec.Raw) -> None:
        given = read_session(raw)
        changes = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}
        self._settings = msgspec.structs.replace(self._settings, **changes)
        await self._send(event("session.updated", session=self._session_json()))

    async def _add(self, item: Item) -> None:
        check_item(item)
        self._items.append(item)
        item_id = item.id or f"item_user_{len(self._items)}"
        shown = {**msgspec.to_builtins(item), "id": item_id, "object": "realtime.item", "status": "completed"}
        for kind in ("conversation.item.added", "conversation.item.done"):
            await self._send(event(kind, previous_item_id=None, item=shown))

    def _start(self, options: ResponseOptions, tasks: asyncio.TaskGroup) -> None:
        if self._responding is not None and not self._responding.done():
            words = "Conversation already has an active response in progress."
            raise Refusal(400, "conversation_already_has_active_response", words, INVALID)
        self._responding = tasks.create_task(self._respond(options))

    async def _cancel(self) -> None:
        if self._responding is None or self._responding.done() or self._in_progress is None:
            words = "Cancellation failed: no active response found"
            raise Refusal(400, "response_cancel_not_active", words, INVALID)
        wire, call = self._in_progress
        self._responding.cancel()
        await asyncio.wait([self._responding])
        call.ending = "cancelled"
        await self._send(wire.cancelled(call.tokens_sent))

    async def _respond(self, options: ResponseOptions) -> None:
        with self._simulator.calls.record(API, self._payer) as call:
            try:
                await self._perform(self._question(options), options, call)
            except Refusal as refusal:
                call.status, call.ending = refusal.status, call.ending or "refused"
                await self._send(error_event(refusal))

    async def _perform(self, question: Question, options: ResponseOptions, call: Call) -> None:
        call.model, call.stream, call.thinks = question.model, True, question.thinks
        directions = self._directions(question)
        script = directions.script
        call.fault = script.fault
        self._simulator.calls.name(call, script.key)
        refusal = rules.REFUSALS.get(script.status, rules.REFUSALS[500]).recoded(script)
        _refuse_scripted(script, refusal, call)
        told = composed(question, directions, call)
        modalities = options.output_modalities or self._settings.output_modalities or []
        wire = RealtimeWire(told, refusal, audio="text" not in modalities, limit=question.limit)
        self._in_progress = wire, call
        stage = SocketStage(self._request, self._socket, wire)
        await player.play(acts.streamed(wire, told.reply, script), stage, call, self._simulator)
        call.ending = "fault" if script.fault else "completed"

    def _directions(self, question: Question) -> Directions:
        try:
            return self._simulator.directions_for(question.talk, befalls=self._befalls)
        except ScriptError as error:
            raise Refusal(400, None, str(error), INVALID) from None

    def _question(self, options: ResponseOptions) -> Question:
        texts = ["".join(part.text for part in item.content) for item in self._items]
        instructions = options.instructions or self._settings.instructions or ""
        prompt_tokens = answer.prompt_tokens([instructions, *texts] if instructions else texts)
        limit = options.max_output_tokens or self._settings.max_output_tokens or "inf"
        if prompt_tokens > CONTEXT[self._model]:
            words = f"The input is {prompt_tokens} tokens, more than the {CONTEXT[self._model]} of this model."
            raise Refusal(400, "input_too_long", words, INVALID)
        return Question(
            model=self._model,
            talk=tuple(
                Said("model" if item.role == "assistant" else "user", text)
                for item, text in zip(self._items, texts, strict=True)
                if item.role != "system"
            ),
            prompt_tokens=prompt_tokens,
            limit=OUTPUT_MAX if limit == "inf" else min(limit, OUTPUT_MAX),
            stream=True,
            thinks=self._model.startswith("gpt-realtime-2"),
        )

    def _session_json(self) -> dict[str, Any]:
        settings = {name: value for name, value in msgspec.structs.asdict(self._settings).items() if value is not None}
        return {"object": "realtime.session", "id": "sess_simulated", "model": self._model, **settings}

    async def _send(self, lines: bytes) -> None:
        for line in lines.splitlines():
            await self._socket.send_frame(line, WSMsgType.TEXT)


async def realtime(request: web.Request) -> web.StreamResponse:
    """Serve `GET /v1/realtime`: the handshake, then the session."""
    try:
        check_bearer(request)
    except Refusal as refusal:
        return OPENAI_CHAT.refuse(refusal)
    simulator, payer = request.app[SIMULATOR], payer_of(request, API)
    met = simulator.upstreams.meet(payer)
    if met.dead or met.silent or met.refused:
        with simulator.calls.record(API, payer) as call:
            return dead(request, call) if met.dead else await befallen(OPENAI_CHAT, met, call)
    defaults = scripts.overlay(met.script, simulator.defaults) if met.script else simulator.defaults
    if defaults.fault == "html":
        return web.Response(status=defaults.status or 502, body=HTML_PAGE, content_type="text/html")
    if defaults.status not in {0, 200} and not defaults.fault:
        return OPENAI_CHAT.refuse(rules.REFUSALS[defaults.status].recoded(defaults))
    socket = web.WebSocketResponse(compress=False, max_msg_size=0)
    await socket.prepare(request)
    model = request.query.get("model", "")
    if model in CONTEXT:
        await Session(request, socket, model, payer, met.script).run()
    else:
        await _refuse_model(socket, model)
    return socket


async def _refuse_model(socket: web.WebSocketResponse, model: str) -> None:
    words = f"The model `{model}` does not exist or you do not have access to it."
    refused = error_event(Refusal(404, "model_not_found", words, INVALID, "model"))
    await socket.send_frame(refused.rstrip(), WSMsgType.TEXT)
    await socket.close(code=_UNKNOWN_MODEL, message=b"invalid_request_error.model_not_found")


def _refuse_scripted(script: Script, refusal: Refusal, call: Call) -> None:
    """Raise the refusal that a directive asks for."""
    if script.fault not in {"retired", "blocked"} and not (script.status and not script.fault):
        return
    call.ending = "fault"
    if script.fault == "retired":
        raise rules.RETIRED
    if script.fault == "blocked":
        raise rules.BLOCKED
    raise refusal
