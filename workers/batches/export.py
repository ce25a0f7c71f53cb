"""Exports batches to S3 before they end: all results in the native form, in the order of the input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aioboto3
import asyncpg
import msgspec
import structlog
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from shared import clock
from shared.batches.batches import Batch, batch_from_row
from shared.batches.queries import BATCHES
from shared.batches.result_lines import result_line
from shared.batches.results import results_of
from shared.errors import Gone
from shared.vendors import AWS_KEYS
from workers.providers.bedrock.client import TracedSession

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
PART_BYTES = 8_000_000
"""Size of a part. S3 takes up to 10,000 parts, each but the last of at least 5 MiB
(docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html, read 2026-11).
"""
NDJSON = "application/x-ndjson"
ABORT_S = 10.0
CLAIM_S = 60.0
FAILURES = (BotoCoreError, ClientError, TimeoutError, OSError, Gone, ValueError)  # ValueError: the address is invalid


class BatchExporter:
    """`look` exports due batches one after the other; several workers may look at once.

    Every part renews the claim, so a worker's death only delays its batch; a second export writes the same. The address is
    the SDK's own setting, `AWS_ENDPOINT_URL_S3`, and so are the credentials.
    """

    def __init__(self, pool: asyncpg.Pool, folder: str, environment: Mapping[str, str], settings: Settings) -> None:
        self._pool = pool
        self._folder = folder
        self._environment = environment
        self._region = environment.get("AWS_REGION") or None
        self._settings = settings
        self._config = AioConfig(connect_timeout=settings.connect_timeout_s, http_session_cls=TracedSession)

    async def look(self) -> None:
        """Export what is due. Raises asyncpg's errors and `Unavailable`; S3's errors are logged and retried later."""
        while batch := await self._claim():
            where = f"{self._folder}/{batch.id}.ndjson"
            try:
                async with asyncio.timeout(self._settings.batch_export_timeout_s):
                    await self._export(batch, where)
            except FAILURES as error:
                log.error("batch not exported", alert=True, batch=batch.id, to=where, reason=_reason(error))  # noqa: TRY400
                await self._pool.execute(BATCHES["export_later"], batch.id, self._settings.batch_export_retry_s)
            else:
                await self._pool.execute(BATCHES["exported"], batch.id, where)
                log.info("batch exported", batch=batch.id, to=where)

    async def _claim(self) -> Batch | None:
        row = await self._pool.fetchrow(BATCHES["claim_export"], CLAIM_S)
        return None if row is None else batch_from_row(row)

    async def _export(self, batch: Batch, where: str) -> None:
        to = urlsplit(where)
        id_of_key, key, token = (self._environment.get(name) or None for name in AWS_KEYS)
        session = aioboto3.Session(id_of_key, key, token)
        async with session.client("s3", region_name=self._region, config=self._config) as s3:
            await upload(s3, to.netloc, to.path.lstrip("/"), self._parts(batch))

    async def _parts(self, batch: Batch) -> AsyncIterator[bytes]:
        async for part in parts_of(self._lines(batch)):
            await self._pool.execute(BATCHES["export_later"], batch.id, CLAIM_S)
            yield part

    async def _lines(self, batch: Batch) -> AsyncIterator[bytes]:
        """Every line of the ended batch."""
        ended = msgspec.structs.replace(batch, state=batch.ends_as, ended_at=clock.utc_now())
        async for result in results_of(self._pool, ended, self._settings.results_page_bytes_max):
            yield result_line(result)


async def upload(s3: Any, bucket: str, key: str, parts: AsyncIterator[bytes]) -> None:  # noqa: ANN401 - an SDK without types
    """Upload all parts as one object, which appears as a whole or not at all."""
    to = {"Bucket": bucket, "Key": key}
    upload_id = (await s3.create_multipart_upload(**to, ContentType=NDJSON))["UploadId"]
    done: list[dict[str, Any]] = []
    try:
        async for part in parts:
            number = len(done) + 1
            answer = await s3.upload_part(**to, UploadId=upload_id, PartNumber=number, Body=part)
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
        await s3.complete_multipart_upload(**to, UploadId=upload_id, MultipartUpload={"Parts": done})
    except BaseException:
        with suppress(*FAILURES):  # what this leaves behind, a lifecycle rule of the bucket deletes
            async with asyncio.timeout(ABORT_S):
                await s3.abort_multipart_upload(**to, UploadId=upload_id)
        raise


async def parts_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join pieces to parts of the size that S3 requires; one part at most is in memory."""
    part: list[bytes] = []
    size = 0
    async for piece in pieces:
        part.append(piece)
        size += len(piece)
        if size >= PART_BYTES:
            yield _joined(part)
            size = 0
    if part:
        yield _joined(part)


def _joined(part: list[bytes]) -> bytes:
    """The joined pieces; the list is emptied."""
    whole = b"".join(part)
    part.clear()
    return whole


def _reason(error: BaseException) -> str:
    if isinstance(error, HTTPClientError) and (inside := error.kwargs.get("error")):
        error = inside
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "ClientError"))
    return type(error).__name__
