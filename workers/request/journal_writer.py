"""Writes running requests' answers to their journals: the first part at once, later parts together.

All requests of a process share one flush at a time: one round trip, and one message to each front door. A flush is never
cancelled, because a half-done append could not be distinguished from a missing one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from shared.errors import Unavailable
from shared.job import AnswerPart, Event, Failed, Served, bytes_of
from shared.queue.journal import Append, Journal, LeaseLost, RequestVoid, append_all
from workers.request.joined_parts import merged

if TYPE_CHECKING:
    from shared.ledger.settlement import Settlement
    from shared.stores.scripts import Scripts

log = structlog.get_logger(__name__)
UNSENT_BYTES_MAX = 65_536
"""Bytes of unwritten answer above which the vendor is read no faster than the journal is written."""
FLUSH_APPENDS_MAX, FLUSH_BYTES_MAX = 256, 131_072
"""Approximate limits of one flush, in appends and bytes, because other calls to Redis wait behind it."""


class JournalFlusher:
    """Writes the marked writers' parts, at most once in `window_s`. While Redis is away, it retries every `retry_s`.
    The owner runs `run` as a task.
    """

    def __init__(self, scripts: Scripts, *, window_s: float, retry_s: float) -> None:
        self._scripts = scripts
        self._window_s = window_s
        self._retry_s = retry_s
        self._marked: dict[JournalWriter, None] = {}
        self._arrived = asyncio.Event()

    def mark(self, writer: JournalWriter) -> None:
        """Note that the writer has something to write."""
        self._marked[writer] = None
        self._arrived.set()

    async def run(self) -> None:
        """Write until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            window_ends = loop.time() + self._window_s
            writers, appends = self._next()
            if not self._marked:
                self._arrived.clear()
            answered = not appends or await self._flush(writers, appends)
            await asyncio.sleep(window_ends - loop.time() if answered else self._retry_s)

    def _next(self) -> tuple[list[JournalWriter], list[Append]]:
        writers: list[JournalWriter] = []
        appends: list[Append] = []
        size = 0
        while self._marked and len(appends) < FLUSH_APPENDS_MAX and size < FLUSH_BYTES_MAX:
            writer = next(iter(self._marked))
            del self._marked[writer]
            try:
                rows = writer.take()
            except Exception as error:  # an error of one stream must not end the others
                log.exception("event cannot be packed", alert=True)
                writer.failed(error)
                continue
            writers.append(writer)
            appends += rows
            size += sum(len(row.event) + len(row.record) for row in rows)
        return writers, appends

    async def _flush(self, writers: list[JournalWriter], appends: list[Append]) -> bool:
        """Write once; false if Redis did not answer."""
        try:
            answers = iter(await append_all(self._scripts, appends))
        except Unavailable as error:
            for writer in writers:
                writer.unanswered(error)
            return False
        except Exception as error:  # the writers get the error, and the flusher goes on
            log.exception("journals cannot be written", alert=True)
            for writer in writers:
                writer.failed(error)
            return True
        for writer in writers:
            writer.answered([next(answers) for _ in writer.under_way])
        return True


class JournalWriter:
    """Writes one request's journal; not for concurrent use. If Redis does not take an append within `patience_s`, it is
    given up. `opening` is written before the answer, if there is one.
    """

    def __init__(
        self, flusher: JournalFlusher, journal: Journal, *, patience_s: float, opening: Served | None = None
    ) -> None:
        self._flusher = flusher
        self._journal = journal
        self._patience_s = patience_s
        self._opening = opening
        self._unsent: list[AnswerPart] = []
        self._unsent_bytes = 0
        self._last: tuple[Event, Settlement] | None = None
        self.under_way: list[Append] = []
        """Appends that were sent and not answered yet."""
        self._gives_up_at = 0.0
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    async def write(self, part: AnswerPart) -> None:
        """Take a part of the answer. Raises the error of an earlier part: `LeaseLost` or `Unavailable`."""
        self._raise_error()
        self._unsent.append(part)
        self._unsent_bytes += bytes_of(part)
        self._flusher.mark(self)
        while self._unsent_bytes > UNSENT_BYTES_MAX:
            await self._wait_for_answer()
            self._raise_error()

    async def end(self, event: Event, settlement: Settlement) -> None:
        """Write what is left and the last event with its settle record. Raises like `write`, or `RequestVoid`; then it may
        be called again.
        """
        self._raise_error()
        self._last = (event, settlement)
        self._flusher.mark(self)
        while self._busy:
            await self._wait_for_answer()
            self._raise_error()

    async def wait_until_written(self) -> None:
        """Wait until everything that was taken is written, or cannot be written."""
        while self._busy and not self._error:
            await self._wait_for_answer()
        self._error = None  # the next append finds the error again, because its place in the journal is wrong

    def take(self) -> list[Append]:
        """The appends to write now. Until they are answered, the same appends are returned again."""
        if not self.under_way:
            events: list[tuple[Event, Settlement | None]] = [(part, None) for part in merged(self._unsent)]
            if self._last:
                events.append(self._last)
            place = self._journal.length
            if self._opening and events and not place and not isinstance(events[0][0], Failed):
                events.insert(0, (self._opening, None))
            self.under_way = [self._journal.append(place + n, *event) for n, event in enumerate(events)]
            self._drop()
            self._gives_up_at = asyncio.get_running_loop().time() + self._patience_s
        return self.under_way

    def answered(self, answers: list[int]) -> None:
        """Take Redis's answers to the appends."""
        try:
            for answer in answers:
                self._journal.after(answer)
        except (LeaseLost, RequestVoid) as error:
            self._error = error
        self._over()

    def unanswered(self, error: Unavailable) -> None:
        """Note that Redis did not answer: retry until `patience_s` ends."""
        if asyncio.get_running_loop().time() > self._gives_up_at:
            self.failed(error)
        else:
            self._flusher.mark(self)

    def failed(self, error: Exception) -> None:
        """Note that the appends cannot be written."""
        self._error = error
        self._over()

    @property
    def _busy(self) -> bool:
        return bool(self._unsent or self._last or self.under_way)

    def _over(self) -> None:
        self.under_way = []
        if self._error:
            self._drop()  # parts after a gap have no place in the journal
        elif self._busy:
            self._flusher.mark(self)  # this part arrived during the flush
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    async def _wait_for_answer(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error

    def _drop(self) -> None:
        self._unsent, self._unsent_bytes, self._last = [], 0, None
