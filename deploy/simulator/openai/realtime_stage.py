"""A realtime session's socket as a stage to perform on."""

from __future__ import annotations

import struct

from aiohttp import WSCloseCode, WSMsgType, web

from deploy.simulator import player
from deploy.simulator.openai.realtime_events import RealtimeWire


class SocketStage:
    """A WebSocket on which every line is one text message."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, wire: RealtimeWire) -> None:
        self._request = request
        self._socket = socket
        self._wire = wire

    async def begin(self) -> None:
        """Do nothing: the handshake was the beginning."""

    async def send(self, data: bytes) -> None:
        """Send each line as a message."""
        for line in data.splitlines():
            if line:
                await self._socket.send_frame(line, WSMsgType.TEXT)

    async def end(self) -> None:
        """Keep the socket for the next turn; after a turn without `response.done`, close it with code 1000."""
        if not self._wire.finished:  # sent as a frame, because the session's own loop reads the answer to it
            await self._socket.send_frame(struct.pack("!H", WSCloseCode.OK), WSMsgType.CLOSE)

    def hang_up(self) -> None:
        """Close the connection without a close frame."""
        player.hang_up(self._request)

    def cut(self) -> None:
        """Reset the connection."""
        player.reset(self._request)
