"""Takes a batch's lines as they arrive: each is understood or set aside with its number, and stored in pieces by COPY.

Nothing of the file is kept here but the piece under way and a fingerprint of every `custom_id`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import msgspec
import structlog

from api.formats.asked import ParsedLine
from api.requests.model_check import fit_to_model
from api.requests.model_names import V1_LISTED_AT, unknown_model_first
from shared.batches.batches import Ask, pack_ask
from shared.batches.bounds import cost_bound, require_at_most
from shared.batches.files import File, Line, LineError, add_lines, drop_file, finish_file
from shared.catalogue.models import LISTED_AT
from shared.errors import InvalidRequest, Overloaded, RebootError, RequestTooLarge
from shared.money import NANO_PER_USD, NanoUsd

if TYPE_CHECKING:
    from api.services import Services
    from shared.ledger.api_keys import ApiKey

log = structlog.get_logger(__name__)
LINES_PER_COPY, BYTES_PER_COPY = 500, 4_000_000
CUSTOM_ID_LENGTH_MAX = 256
ERRORS_SHOWN_MAX = 100


class Upload:
    """One file on its way, sent with `key`. `parse_line` makes a line of it, or raises a `RebootError` for that
    line alone.
    """

    def __init__(self, services: Services, file: File, key: ApiKey, parse_line: Callable[[bytes], ParsedLine]) -> None:
        self._services = services
        self._file = file
        self._key = key
        self._parse = parse_line
        self._listed_at = LISTED_AT if file.form == "native" else V1_LISTED_AT
        self._piece: list[Line] = []
        self._piece_bytes = 0
        self._seen: set[bytes] = set()
        self._lines = self._bad = 0
        self._hash = hashlib.sha256(b"lines\0")
        self.errors: list[LineError] = []
        """The first of them."""

    @property
    def _shows_more(self) -> bool:
        """Whether another bad line would be among `errors`. Names are compared for those only, because it takes its time."""
        return len(self.errors) < ERRORS_SHOWN_MAX

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the lines."""
        return self._hash.digest()

    async def receive(self, chunks: AsyncIterator[bytes], completed: Callable[[File], File]) -> File:
        """Store everything; nobody sees the file before its end. `completed` adds what is known of it only then. Raises
        `InvalidRequest`, `RequestTooLarge`, `KeyEnded` or `Unavailable`; then, and when the caller goes away, nothing of it
        stays.
        """
        try:
            size = await self._take_all(chunks)
            file, counts = completed(self._file), {"lines": self._lines, "bad_lines": self._bad}
            return await finish_file(self._services.pool, file, self._key.id, size=size, **counts)
        except BaseException:
            await self._forget()
            raise

    async def _take_all(self, chunks: AsyncIterator[bytes]) -> int:
        """Gives how many bytes there were."""
        settings, size, number = self._services.settings, 0, 0
        async for line in lines_of(counted(chunks, settings.batch_bytes_max), settings.batch_line_bytes_max):
            number += 1
            size += len(line or b"") + 1
            if line is None or line.strip():
                await self._take(number, line)
        if not self._lines:
            raise InvalidRequest("The file has no lines: send one JSON object per line.")
        await self._store()
        return size

    async def _take(self, number: int, line: bytes | None) -> None:
        if self._lines >= self._services.settings.batch_lines_max:
            raise InvalidRequest(f"The file has more than {self._services.settings.batch_lines_max} lines: split it.")
        self._lines += 1
        understood = self._understood(number, line)
        self._hash.update((understood.asked or line or b"") + f"\0{understood.custom_id}\n".encode())
        self._piece.append(understood)
        self._piece_bytes += len(line or b"")
        if len(self._piece) >= LINES_PER_COPY or self._piece_bytes >= BYTES_PER_COPY:
            await self._store()

    def _understood(self, number: int, line: bytes | None) -> Line:
        try:
            if line is None:
                raise RequestTooLarge(f"It is longer than {self._services.settings.batch_line_bytes_max} bytes.")
            with unknown_model_first(line, self._services.catalogue, self._listed_at, nearest=self._shows_more):
                parsed = self._parse(line)
            self._refuse_twice(parsed.custom_id)
            return self._line(number, parsed)
        except RebootError as error:
            self._bad += 1
            found = LineError(number, error.code, _storable(f"Line {number}: {error.message}"))
            if self._shows_more:
                self.errors.append(found)
            return Line(number=number, custom_id=_id_of(line), error_code=found.code, error_message=found.message)

    def _line(self, number: int, parsed: ParsedLine) -> Line:
        services = self._services
        named = services.catalogue.find(parsed.asked.model, self._listed_at, nearest=self._shows_more).name
        model = services.catalogue.serving(named)
        asked = fit_to_model(parsed.asked, model, services.settings, strict=self._key.strict)
        with contextlib.suppress(Overloaded):  # it waits for a worker
            services.directory.require(model, "batch")
        ask = Ask(named, asked.messages, asked.sampling, asked.tools, asked.max_tokens, asked.metadata)
        most = NanoUsd(services.settings.batch_line_usd_max * NANO_PER_USD)
        require_at_most(most, cost_bound(ask, model, services.settings))
        return Line(number=number, custom_id=parsed.custom_id, provider=model.provider, asked=pack_ask(ask))

    def _refuse_twice(self, custom_id: str) -> None:
        if not 1 <= len(custom_id) <= CUSTOM_ID_LENGTH_MAX or "\0" in custom_id:
            raise InvalidRequest(f"`custom_id` has 1 to {CUSTOM_ID_LENGTH_MAX} characters.")
        fingerprint = hashlib.blake2b(custom_id.encode(), digest_size=12).digest()
        if fingerprint in self._seen:
            raise InvalidRequest("`custom_id` is that of an earlier line: give each line its own.")
        self._seen.add(fingerprint)

    async def _store(self) -> None:
        if self._piece:
            await add_lines(self._services.pool, self._file, self._piece)
        self._piece, self._piece_bytes = [], 0

    async def _forget(self) -> None:
        try:
            await asyncio.shield(drop_file(self._services.pool, self._file))
        except RebootError as error:
            log.warning("broken upload not dropped", file=self._file.id, reason=error.message)  # its day will be


class _Named(msgspec.Struct, frozen=True):
    """As much of a bad line as can be told from it."""

    custom_id: str


_named_decoder = msgspec.json.Decoder(_Named)


def _id_of(line: bytes | None) -> str | None:
    """The id of a line that is bad otherwise, so that its owner finds it again."""
    try:
        custom_id = _named_decoder.decode(line or b"").custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return custom_id if 1 <= len(custom_id) <= CUSTOM_ID_LENGTH_MAX and "\0" not in custom_id else None


def _storable(text: str) -> str:
    """Postgres stores no NUL; a message may quote one."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


async def counted(chunks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[bytes]:
    """Raises `RequestTooLarge` when there is more, whatever is in it."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > bytes_max:
            raise RequestTooLarge(f"The file is larger than {bytes_max} bytes: split it.")
        yield chunk


async def lines_of(chunks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[bytes | None]:
    """Lines without their ends; None in the place of one that is longer than `bytes_max`, which is not kept."""
    rest, too_long = bytearray(), False
    async for chunk in chunks:
        *ended, last = chunk.split(b"\n")
        for part in ended:
            rest += part
            yield None if too_long or len(rest) > bytes_max else bytes(rest).rstrip(b"\r")
            rest, too_long = bytearray(), False
        rest += last
        if len(rest) > bytes_max:
            rest, too_long = bytearray(), True
    if rest or too_long:
        yield None if too_long else bytes(rest).rstrip(b"\r")
