"""The steps of an upload before its first line, the same for every API: credit, a place among the uploads, and a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from api.batches.creation import key_was_used
from api.batches.upload import Upload
from api.http.reading import idempotency_key
from api.services import SERVICES
from shared.batches.files import Form, begin_file, require_credit
from shared.batches.quota import Announced

if TYPE_CHECKING:
    from aiohttp import web

    from api.batches.lines import Parts
    from api.batches.reading import Reader
    from api.http.uploads import UploadMemory
    from api.services import Services
    from shared.ledger.api_keys import ApiKey


class UploadPlace(NamedTuple):
    """A place among the uploads of this process, for one upload with `key`."""

    services: Services
    key: ApiKey
    announced: Announced
    memory: UploadMemory

    async def begin(self, form: Form, filename: str, reader: Reader, parts: Parts) -> Upload:
        """Create the file that the upload fills. Raises as `begin_file` does."""
        services = self.services
        file = await begin_file(services.pool, self.key.account_id, form, filename, services.settings, self.announced)
        return Upload(services, file, self.key, reader, parts, self.memory, self.announced)


class WantedUpload(NamedTuple):
    """An upload that may begin. `repeated_by` is the SHA-256 of its Idempotency-Key, if it has one. If it `repeats` an
    earlier upload with this key, credit neither permits nor limits it.
    """

    request: web.Request
    key: ApiKey
    repeated_by: bytes | None
    repeats: bool

    @asynccontextmanager
    async def place(self) -> AsyncIterator[UploadPlace]:
        """Wait for a place. The end of the key ends the upload. Raises `RateLimited` or `Overloaded`."""
        services = self.request.app[SERVICES]
        announced = Announced(self.request.content_length or 0, by_credit=not self.repeats)
        async with services.uploads.one_more(self.key.account_id) as memory, services.key_watch.stopping(self.key.id):
            yield UploadPlace(services, self.key, announced, memory)


async def require_may_upload(request: web.Request, key: ApiKey) -> WantedUpload:
    """Check that the account has credit, unless the request repeats an earlier one. Raises `InsufficientCredit` or
    `Unavailable`.
    """
    pool = request.app[SERVICES].pool
    repeated_by = idempotency_key(request)
    repeats = repeated_by is not None and await key_was_used(pool, key.account_id, repeated_by)
    if not repeats:
        await require_credit(pool, key.account_id)
    return WantedUpload(request, key, repeated_by, repeats)
