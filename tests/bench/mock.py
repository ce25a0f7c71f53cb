"""A vendor that costs next to nothing: answers made beforehand, written to raw sockets. It checks nothing.

The prompt says how a stream is paced: `pace=20` is a first chunk after `FIRST_MS` and then one each 20 ms; `pace=0`, or no
word of it, is as fast as the connection goes, each chunk in a write of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import cast

import msgspec
import uvloop

CHUNKS = 100
FIRST_MS = 50
WORDS = [f"token{number} " for number in range(1, CHUNKS + 1)]
TEXT = "".join(WORDS)
TOKENS_IN, TOKENS_OUT = 20, CHUNKS
_USAGE = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}
_COMMON = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18"}
_STREAMED = re.compile(rb'"stream"\s*:\s*true')
_PACE = re.compile(rb"pace=(\d+)")
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


def stream_seconds(pace_ms: int) -> float:
    """From the request to the last chunk, at the mock's own pace."""
    return (FIRST_MS + pace_ms * (CHUNKS - 1)) / 1000


def _json_answer() -> bytes:
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = msgspec.json.encode({**_COMMON, "object": "chat.completion", "choices": [choice], "usage": _USAGE})
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _event(choices: list[object], usage: object = None) -> bytes:
    body = msgspec.json.encode({**_COMMON, "object": "chat.completion.chunk", "choices": choices, "usage": usage})
    return _chunk(b"data: %b\n\n" % body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> list[object]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


def _stream_parts() -> list[bytes]:
    """What is written one after the other: head and first chunk, the other chunks, the end with the last one."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    first, *others = [_event(_choice({"role": "assistant", "content": word})) for word in WORDS]
    end = _event(_choice({}, "stop")) + _event([], _USAGE) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    others[-1] += end
    return [head + first, *others]


JSON_ANSWER = _json_answer()
STREAM_PARTS = _stream_parts()


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._wanted = 0
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._wanted:
            head, separator, _ = self._received.partition(b"\r\n\r\n")
            if not separator:
                return
            length = _LENGTH.search(head)
            self._wanted = len(head) + 4 + (int(length[1]) if length else 0)
        if len(self._received) >= self._wanted:
            request = bytes(self._received)
            self._received.clear()
            self._wanted = 0
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if not _STREAMED.search(request):
            self._transport.write(JSON_ANSWER)
            return
        pace = _PACE.search(request)
        pace_s = int(pace[1]) / 1000 if pace else 0.0
        if pace_s:
            self._timer = self._loop.call_later(FIRST_MS / 1000, self._go_on, 0, pace_s, self._loop.time())
        else:
            self._at_once(0)

    def _at_once(self, number: int) -> None:
        """Each chunk in a turn of the loop of its own, or they would leave as one."""
        if self._transport.is_closing():
            return
        self._transport.write(STREAM_PARTS[number])
        if number + 1 < CHUNKS:
            self._loop.call_soon(self._at_once, number + 1)

    def _go_on(self, number: int, pace_s: float, began: float) -> None:
        """By the clock, not from chunk to chunk, so that a late one does not delay all that follow."""
        self._transport.write(STREAM_PARTS[number])
        if number + 1 < CHUNKS:
            due = began + FIRST_MS / 1000 + pace_s * (number + 1)
            self._timer = self._loop.call_at(due, self._go_on, number + 1, pace_s, began)


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=8_192)
    await server.serve_forever()


def main() -> None:
    """`python -m tests.bench.mock --port N`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
