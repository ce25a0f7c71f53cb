"""Creates a batch from one body that contains its lines, for APIs without a separate upload."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiohttp import web

from api.batches.beginning import require_may_upload
from api.batches.counting import Counting
from api.batches.creation import Created, NewBatch, RepeatableBy, create_batch
from api.batches.lines import Parts
from api.batches.reading import Reader
from api.http.reading import chunks_of
from api.http.state import ASKED_BY
from api.services import SERVICES
from shared.batches.batches import Batch
from shared.batches.files import Form, LineError, delete_unused_file
from shared.errors import IdempotencyMismatch, Unavailable

if TYPE_CHECKING:
    from api.services import Services
    from shared.batches.files import File
    from shared.ledger.api_keys import ApiKey


class BodyForm(NamedTuple):
    """Says how an API's body is read: the endpoint of its lines, the name of the file that is made of it, and the
    classes that split and read it.
    """

    form: Form
    endpoint: str
    filename: str
    parts: Parts
    reader: Reader


class Made(NamedTuple):
    """A batch, and whether an earlier call with the same Idempotency-Key created it (`again`). `errors` are the first
    lines that were not understood.
    """

    batch: Batch
    again: bool
    errors: list[LineError]


async def batch_of(
    request: web.Request, key: ApiKey, body: BodyForm, chunks: AsyncIterator[bytes] | None = None
) -> Made:
    """Read the lines as they arrive (from `chunks` if they are only a part of the body), and create the batch once all
    lines are stored. If an error is raised or the caller goes away, nothing of the body is kept, held or charged.
    """
    services = request.app[SERVICES]
    request[ASKED_BY] = key.account_id
    counting = Counting(request, services, key)
    wanted = await require_may_upload(request, key)
    if not wanted.repeats:
        await counting.once()
    async with wanted.place() as place:
        upload = await place.begin(body.form, body.filename, body.reader, body.parts)
        file = await upload.receive(
            chunks or chunks_of(request), lambda file: msgspec.structs.replace(file, endpoint=body.endpoint)
        )
    repeat = RepeatableBy(wanted.repeated_by, upload.fingerprint) if wanted.repeated_by else None
    new = NewBatch(file, key.id, body.endpoint, repeatable_by=repeat, asked_at=file.created_at)
    batch, again = await _made_of(services, new, counting)
    return Made(batch, again, body.reader.errors)


async def _delete_unused(services: Services, file: File) -> None:
    """Delete the file, unless a batch was created from it. Without Postgres the file stays until it expires."""
    with contextlib.suppress(Unavailable):
        await delete_unused_file(services.pool, file, services.settings)


async def _made_of(services: Services, new: NewBatch, counting: Counting) -> Created:
    """Create the batch. The file is deleted if no batch is created from it, or if an earlier batch is returned."""
    try:
        created = await create_batch(services.pool, new, services.settings)
    except BaseException as error:
        await asyncio.shield(_delete_unused(services, new.file))
        if isinstance(error, IdempotencyMismatch):
            await counting.once()
        raise
    if created.again:
        await delete_unused_file(services.pool, new.file, services.settings)
    else:
        await counting.made()
    return created
