"""OpenAI Realtime, by the `openai` SDK: one text turn on a fresh socket per request, so that turns share no state.

    session.update ──► session.updated ──► items, response.create ──► response.output_text.delta … response.done

Events are read as bytes and told apart by their type; unknown ones are passed over. The socket has no retries and never
reconnects. Wire format, GA: platform.openai.com/docs/api-reference/realtime-server-events (read 2026-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.asyncio import client as websocket_client
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, SecurityError, WebSocketException

from shared.chat import INSTRUCTIONS, Message
from shared.money import Usage
from workers.providers.openai import errors as openai_errors
from workers.providers.openai.clients import Clients, openai_clients
from workers.providers.protocol import Finished, Limits, Piece, ProviderRequest, Reported
from workers.providers.wire import vendor_errors
from workers.providers.wire.conversation import refuse_tools
from workers.providers.wire.sending import under_way
from workers.providers.wire.text import SurrogateJoiner, decode

websocket_client.MAX_REDIRECTS = 1
"""Addresses that are tried: only the vendor's own. The library has no other way to follow no redirect."""
OUTPUT_TOKENS_MAX = 4_096
EVENT_BYTES_MAX = 8_000_000
CLOSE_S = 1.0
DELTAS = {"response.output_text.delta", "response.text.delta"}
CONTENT_TYPES = {"user": "input_text", "system": "input_text", "developer": "input_text", "assistant": "output_text"}
INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Counts(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    input_token_details: _InputDetails | None = None

    def usage(self) -> Usage:
        cached = self.input_token_details and self.input_token_details.cached_tokens
        return Usage(self.input_tokens, self.output_tokens, cached or 0)


class _Details(msgspec.Struct):
    reason: str | None = None
    error: dict[str, Any] | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    status_details: _Details | None = None
    usage: _Counts | None = None


class _Event(msgspec.Struct):
    type: str
    delta: Any = None
    error: Any = None
    response: _Response | None = None


_decoder = msgspec.json.Decoder(_Event)


class OpenAIRealtime:
    """A provider, see `protocol.py`."""

    def __init__(self, clients: Clients, limits: Limits) -> None:
        self._clients = clients
        self._limits = limits

    async def close(self) -> None:
        """Close the clients; each socket was closed with its request."""
        await self._clients.close()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """Make one turn; its terminal marker is `response.done`."""
        refuse_tools(request)
        text = SurrogateJoiner()
        async with self._connected(request) as connection:
            await connection.session.update(session=_session(request))
            async for event in self._events(connection):
                if event.type in DELTAS and (piece := text.feed(str(event.delta or ""))):
                    yield piece
                elif event.type == "session.updated":
                    await _ask(connection, request)
                elif event.type == "response.done":
                    break
            if rest := text.finish():
                yield rest
            response = event.response or _Response()
            yield Reported(response.usage.usage() if response.usage else None)
            yield _finished(response)

    @asynccontextmanager
    async def _connected(self, request: ProviderRequest) -> AsyncIterator[AsyncRealtimeConnection]:
        options: Any = {
            "open_timeout": self._limits.connect_s,
            "close_timeout": CLOSE_S,
            "max_size": EVENT_BYTES_MAX,
            "compression": None,
        }
        realtime = self._clients.client.realtime
        try:
            async with realtime.connect(
                model=request.model.vendor_model, websocket_connection_options=options
            ) as connection:
                yield connection
        except InvalidStatus as error:
            response = error.response
            raise openai_errors.from_status(response.status_code, _error_in(response.body), response.headers) from error
        except (SecurityError, InvalidURI) as error:  # InvalidURI: a redirect to an address that is not a socket's
            raise vendor_errors.redirected() from error
        except ConnectionClosed as error:
            raise vendor_errors.broke_off() from error
        except TimeoutError as error:
            raise vendor_errors.unreachable() from error
        except (WebSocketException, OSError) as error:
            raise vendor_errors.disconnected() from error

    async def _events(self, connection: AsyncRealtimeConnection) -> AsyncIterator[_Event]:
        """The events. Raises the error of an `error` event if no response is in progress, because then no response will
        come.
        """
        in_progress = False
        while True:
            event = _event(await self._received(connection))
            in_progress = in_progress or event.type == "response.created"
            if event.type == "error" and not in_progress:
                raise openai_errors.from_error(event.error if isinstance(event.error, dict) else {})
            yield event

    async def _received(self, connection: AsyncRealtimeConnection) -> bytes:
        try:
            async with asyncio.timeout(self._limits.read_s):
                return await connection.recv_bytes()
        except TimeoutError as error:
            raise vendor_errors.timed_out() from error


def create(environment: Mapping[str, str], limits: Limits) -> OpenAIRealtime:
    """The provider, with the key in `OPENAI_API_KEY`. `OPENAI_BASE_URL` is the SDK's own variable; its http becomes ws."""
    return OpenAIRealtime(openai_clients(environment, limits), limits)


def _session(request: ProviderRequest) -> Any:  # noqa: ANN401 - one of the SDK's many typed dictionaries
    """A session for text only: the default is audio, at a much higher price. GA sessions have no temperature."""
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["text"],
        "max_output_tokens": min(request.output_limit, OUTPUT_TOKENS_MAX),
    }
    instructions = "\n\n".join(message.text() for message in _opening(request.messages))
    return session | ({"instructions": instructions} if instructions else {})


async def _ask(connection: AsyncRealtimeConnection, request: ProviderRequest) -> None:
    for message in request.messages[len(_opening(request.messages)) :]:
        await connection.conversation.item.create(item=_item(message))
    await connection.response.create()
    under_way().sent()  # the vendor had nothing to compute before this


def _opening(messages: list[Message]) -> list[Message]:
    """The instructions at the beginning of the conversation; later ones stay in their places, as items."""
    count = next((i for i, message in enumerate(messages) if message.role not in INSTRUCTIONS), len(messages))
    return messages[:count]


def _item(message: Message) -> Any:  # noqa: ANN401 - as above
    role = "system" if message.role in INSTRUCTIONS else message.role
    content = [{"type": CONTENT_TYPES[message.role], "text": message.text()}]
    return {"type": "message", "role": role, "content": content}


def _event(data: bytes) -> _Event:
    try:
        return decode(data, _decoder, _Event)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise vendor_errors.no_answer() from error


def _finished(response: _Response) -> Finished:
    details = response.status_details or _Details()
    match response.status:
        case "completed":
            return Finished("stop")
        case "incomplete":
            return Finished(INCOMPLETE.get(details.reason or "", "stop"))
        case "failed":
            raise openai_errors.from_error(details.error or {})
        case _:
            raise vendor_errors.interrupted()


def _error_in(body: bytes | None) -> object:
    try:
        document = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return document.get("error") if isinstance(document, dict) else None
