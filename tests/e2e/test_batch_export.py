"""Batches are exported to S3 before they end, here to a server that speaks its protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import aioboto3
import aiohttp
import asyncpg
import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError, HTTPClientError
from moto.server import ThreadedMotoServer

from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import NanoUsd
from tests.e2e.test_batches import line, results, sent, until
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.support import eventually
from workers.batches.export import PART_BYTES, parts_of, upload
from workers.providers.bedrock.client import TracedSession
from workers.providers.wire.vendor_errors import Redirected

BUCKET = "results"
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-central-1"}
ENVIRONMENT = {**KEYS, "LEASE_S": "3", "BATCH_EXPORT_S3": f"s3://{BUCKET}/of/batches/", "BATCH_EXPORT_RETRY_S": "0.5"}


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def s3(s3_url: str) -> AsyncIterator[Any]:
    session = aioboto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name=KEYS["AWS_REGION"])
    async with session.client("s3", endpoint_url=s3_url) as client:
        yield client


@pytest.fixture(scope="module")
async def exporting(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    environment = ENVIRONMENT | {"AWS_ENDPOINT_URL_S3": s3_url}
    folder = tmp_path_factory.mktemp("exporting")
    async with running_cluster(folder, environment, doors=1, workers=2, direct=True) as cluster:
        yield cluster


@pytest.fixture
async def customer(exporting: Cluster) -> AsyncIterator[Caller]:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(asyncpg.create_pool(exporting.postgres.url, min_size=1, max_size=1))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        account = await create_account(pool, "someone", NanoUsd(1_000_000_000))
        key = await create_key(pool, account.id, KeyRules())
        yield Caller(session, exporting, account.id, key.key)


async def make_bucket(s3: Any) -> None:
    """Where there is none yet."""
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        await s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]})


async def object_at(s3: Any, key: str) -> bytes:
    answer = await s3.get_object(Bucket=BUCKET, Key=key)
    content: bytes = await answer["Body"].read()
    return content


async def test_an_export_that_fails_is_tried_again_until_the_batch_ends_with_it(
    customer: Caller, exporting: Cluster, s3: Any
) -> None:
    batch = await sent(customer, [line("a", told()), "{", line("b", f"{told(unicode=1)} \u2028 \u2029 \x85")])
    before = await until(customer, batch["id"], {"finalizing"})
    assert (before["exported_to"], len(await results(customer, batch["id"]))) == (None, 3)
    refused = b'"event":"batch not exported"'
    await eventually(lambda: any(refused in log.read_bytes() for log in exporting.logs()), "an export is refused")
    await make_bucket(s3)
    ended = await until(customer, batch["id"])
    where = f"of/batches/{batch['id']}.ndjson"
    assert (ended["state"], ended["exported_to"]) == ("completed", f"s3://{BUCKET}/{where}")
    exported = [json.loads(one) for one in (await object_at(s3, where)).decode().splitlines()]
    assert exported == await results(customer, batch["id"])
    assert [one["status"] for one in exported] == [1, 0, 1]


async def test_an_export_follows_no_redirect() -> None:
    """The results are for the address that the operator named."""
    asked: list[bytes] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 307 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        session = aioboto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name=KEYS["AWS_REGION"])
        config = AioConfig(http_session_cls=TracedSession, retries={"total_max_attempts": 1})
        async with session.client("s3", endpoint_url=url, config=config) as client:
            with pytest.raises(HTTPClientError) as refused:
                await upload(client, BUCKET, "x", pieces(1))
    assert isinstance(refused.value.kwargs["error"], Redirected)
    assert len(asked) == 1


async def test_a_cancelled_batch_is_exported_with_every_line(customer: Caller, s3: Any) -> None:
    await make_bucket(s3)
    batch = await sent(customer, [line(f"id-{number}", told(hold=1, key="export")) for number in range(1_500)])
    await customer.request("DELETE", f"/api/batches/{batch['id']}")
    await customer.release("export")
    ended = await until(customer, batch["id"])
    assert ended["state"] == "cancelled"
    exported = [json.loads(one) for one in (await object_at(s3, f"of/batches/{batch['id']}.ndjson")).splitlines()]
    assert [one["custom_id"] for one in exported] == [f"id-{number}" for number in range(1_500)]
    assert exported == await results(customer, batch["id"])


async def pieces(count: int, *, fail: bool = False) -> AsyncIterator[bytes]:
    for number in range(count):
        yield f"{number:09}\n".encode() * 100_000
    if fail:
        raise TimeoutError


async def test_a_large_export_goes_in_parts(s3: Any) -> None:
    await make_bucket(s3)
    await upload(s3, BUCKET, "large", parts_of(pieces(21)))
    whole = b"".join([piece async for piece in pieces(21)])
    assert await object_at(s3, "large") == whole
    assert len(whole) > 2 * PART_BYTES


async def test_an_export_that_breaks_off_leaves_nothing(s3: Any) -> None:
    await make_bucket(s3)
    with pytest.raises(TimeoutError):
        await upload(s3, BUCKET, "broken", parts_of(pieces(21, fail=True)))
    with pytest.raises(ClientError):
        await object_at(s3, "broken")
    assert not (await s3.list_multipart_uploads(Bucket=BUCKET)).get("Uploads")
