"""Forms with one file, read part by part as they arrive: small fields are kept, the file is passed on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from api.http.read_turns import ReadTurns
from api.http.reading import SenderPatience, refuse_compressed
from api.http.state import READS
from shared.errors import InvalidRequest, UnsupportedMediaType

FILE = "file"
FIELDS_MAX, FIELD_BYTES_MAX = 16, 1_024
CHUNK_BYTES = 65_536
NAME_LENGTH_MAX = 255


class FileForm:
    """Call `to_file`, then iterate over `chunks`; afterwards `fields` has every other part. Fields may come before and
    after the file. Reading raises `InvalidRequest` for a malformed form.
    """

    def __init__(self, reader: MultipartReader, progress: SenderPatience, turns: ReadTurns) -> None:
        self._reader = reader
        self._turns = turns
        self._progress = progress
        self._file: BodyPartReader | None = None
        self.fields: dict[str, str] = {}

    async def to_file(self) -> str:
        """Read up to the file and return its name."""
        self._file = await self._next_file()
        if self._file is None:
            raise InvalidRequest(f"The form has no `{FILE}`: send the lines under this name.", param=FILE)
        return _text(self._file.filename or "batch.jsonl")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes; before it ends, the fields after it are read."""
        file = self._file
        while file is not None and not file.at_eof():
            await self._turns.next()
            async with self._reading():
                chunk = await file.read_chunk(CHUNK_BYTES)
            self._progress.came(len(chunk))
            if chunk:
                yield chunk
        if await self._next_file() is not None:
            raise InvalidRequest(f"`{FILE}` is given more than once.", param=FILE)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """Surround a read. The next piece must come within the time that `SenderPatience` allows, or the form counts as
        broken off.
        """
        with malformed_refused():
            async with self._progress.waiting():
                yield

    async def _next_file(self) -> BodyPartReader | None:
        """Read fields up to the next file, or to the end."""
        while True:
            async with self._reading():
                part = await self._reader.next()
            if part is None:
                return None
            if not isinstance(part, BodyPartReader) or not part.name:
                raise InvalidRequest("Each part of the form has a name, and no parts of its own.")
            name = _text(part.name)
            if part.headers.get("Content-Encoding", "").strip().lower() not in {"identity", ""}:
                raise UnsupportedMediaType(f"`{name}` is compressed: send it as it is, without Content-Encoding.")
            if part.headers.get("Content-Transfer-Encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
                raise InvalidRequest(f"`{name}` is encoded: send it as it is.", param=name)
            if name == FILE:
                return part
            await self._take_field(name, part)

    async def _take_field(self, name: str, part: BodyPartReader) -> None:
        value = b""
        async with self._reading():
            while not part.at_eof() and len(value) <= FIELD_BYTES_MAX:
                value += await part.read_chunk(CHUNK_BYTES)
        if len(value) > FIELD_BYTES_MAX or len(self.fields) >= FIELDS_MAX or name in self.fields:
            raise InvalidRequest(f"`{name}` is too long, given twice, or one field too many.", param=name)
        with malformed_refused():
            self.fields[name] = value.decode()


class _Reader(MultipartReader):
    """aiohttp's reader, with a limit for the lines before the first boundary, which aiohttp skips without limit in one turn
    of the event loop.
    """

    async def _read_until_first_boundary(self) -> None:
        first = await self._readline()
        if first.strip():
            self._unread.append(first)
        await self._read_boundary()


def _text(name: str) -> str:
    """A header as short text that can be stored."""
    return name.encode("utf-8", "replace").decode().replace("\0", "")[:NAME_LENGTH_MAX]


async def file_form(request: web.Request) -> FileForm:
    """The form of a request. Raises `UnsupportedMediaType` for another body, `InvalidRequest` for one
    without a boundary.
    """
    if request.content_type != "multipart/form-data":
        raise UnsupportedMediaType(f"The body is {request.content_type[:100]}: send multipart/form-data.")
    refuse_compressed(request)
    with malformed_refused():
        return FileForm(_Reader(request.headers, request.content), SenderPatience(request), request.app[READS])


@contextmanager
def malformed_refused() -> Iterator[None]:
    """Turn aiohttp's errors for malformed forms into `InvalidRequest`."""
    try:
        yield
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as error:
        raise InvalidRequest("The body is not a form as multipart/form-data has it, or not UTF-8.") from error
