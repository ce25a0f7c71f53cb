"""The parts of an answer as they come from the vendor: each is counted, held against limits, and passed on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shared.chat import CallPiece
from shared.errors import AnswerTooLong
from shared.job import Chunk, bytes_of
from shared.runtime import traces
from shared.runtime.last_minute import LAST_MINUTE
from shared.runtime.metrics import STAGE_SECONDS

if TYPE_CHECKING:
    from shared.job import AnswerPart, Job
    from shared.runtime.growing_room import Growth
    from workers.request.billing import Received

BYTES_PER_TOKEN_MAX, SLACK_BYTES = 256, 65_536
"""An answer with more bytes than this per token of the output limit comes from a vendor that does not stop. The longest
tokens of published vocabularies have 128 bytes (tiktoken's o200k_base and cl100k_base, read 2026-11).
"""
BYTES_PER_TOKEN_SHOWN = 4
"""Average bytes per token, for figures that are not billed."""
BYTES_PER_PART = 64
"""Least memory of a part of an answer beside its text, here and in the journal."""


class Incoming:
    """The answer of the present call. `take` gets each part after `room` has room for it; `received` counts it before."""

    def __init__(
        self, job: Job, received: Received, room: Growth, take: Callable[[AnswerPart], Awaitable[None]]
    ) -> None:
        self._job = job
        self._received = received
        self._room = room
        self._take = take
        self._bytes = 0
        """Bytes of all parts, including the ids of tool calls, which are not text."""
        self._began = 0.0
        self._is_timed = False

    def begin(self, *, is_timed: bool) -> None:
        """A call begins. If it `is_timed`, its time to the first token is among those that operators see."""
        self._began = time.monotonic()
        self._is_timed = is_timed

    def end(self) -> None:
        """The call has ended with its whole answer."""
        STAGE_SECONDS.labels("vendor").observe(time.monotonic() - self._began)

    def forget(self) -> None:
        """Another call writes the answer anew."""
        self._received.text_bytes = self._bytes = 0

    def thought(self, pieces: int) -> None:
        """The model has thought, and shows nothing of it."""
        self._received.pieces += pieces
        LAST_MINUTE.received(self._job.model.provider, pieces)

    async def hand_on(self, part: AnswerPart) -> None:
        """Pass the part on. Raises `AnswerTooLong` for an answer without end, and what `take` raises."""
        if not self._received.text_bytes:
            self._note_first()
        LAST_MINUTE.received(self._job.model.provider, max(part.pieces, bytes_of(part) // BYTES_PER_TOKEN_SHOWN))
        self._received.text_bytes += bytes_of(part)
        self._received.pieces += part.pieces
        self._bytes += _size_of(part)
        if self._bytes > self._job.output_limit * BYTES_PER_TOKEN_MAX + SLACK_BYTES:
            raise AnswerTooLong("The vendor did not stop at the output limit: ask for another model.")
        if self._bytes > self._room.size:
            await self.await_room(self._bytes)
        if not self._is_a_second_tool_call(part):
            await self._take(part)

    async def await_room(self, size: int) -> None:
        """Wait for room. If there is none by the deadline the call goes on, and its own limit ends it."""
        await self._room.grow_to(size, self._job.left_s())

    def _note_first(self) -> None:
        waited_s = time.monotonic() - self._began
        STAGE_SECONDS.labels("first_token").observe(waited_s)
        traces.note({"gen_ai.response.time_to_first_chunk": waited_s})
        if self._is_timed:
            LAST_MINUTE.first_token(self._job.model.provider, waited_s)

    def _is_a_second_tool_call(self, part: AnswerPart) -> bool:
        """True if the part belongs to a second tool call although one was asked for. Most vendors have no parameter for that,
        and clients ask for it (LangChain and Vercel's AI SDK for objects), so only the first one is kept. What the vendor
        reports is charged nevertheless.
        """
        return self._job.tools.parallel is False and isinstance(part, CallPiece) and part.index > 0


def _size_of(part: AnswerPart) -> int:
    named = "" if isinstance(part, Chunk) else part.id or ""
    return BYTES_PER_PART + bytes_of(part) + len(named.encode())
