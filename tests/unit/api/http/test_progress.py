from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from api.http.reading import SenderPatience
from api.http.state import CLOSES, SETTINGS
from shared.errors import InvalidRequest
from shared.settings import Settings

STEP_S = 0.01
SETTINGS_HERE = Settings(database_url="", redis_url="", body_within_s=20 * STEP_S, body_bytes_per_s_min=1_000)


def of_a_body(settings: Settings = SETTINGS_HERE) -> tuple[SenderPatience, web.Request]:
    app = web.Application()
    app[SETTINGS] = settings
    request = make_mocked_request("POST", "/api/batches", app=app)
    return SenderPatience(request), request


async def steps(progress: SenderPatience, size: int, count: int) -> None:
    for _ in range(count):
        async with progress.waiting():
            await asyncio.sleep(STEP_S)
        progress.came(size)


async def test_a_byte_now_and_then_is_no_progress() -> None:
    progress, request = of_a_body()
    with pytest.raises(InvalidRequest, match="is to bring 1000 bytes a second"):
        await steps(progress, 1, 30)
    assert request[CLOSES]


async def test_what_brings_enough_may_take_as_long_as_it_takes() -> None:
    patient = msgspec.structs.replace(SETTINGS_HERE, body_within_s=100 * STEP_S)
    progress, request = of_a_body(patient)
    await steps(progress, 1_000, 150)
    assert CLOSES not in request


async def test_what_came_fast_earns_no_longer_pause_than_any_other() -> None:
    progress, _ = of_a_body()
    progress.came(10**9)
    with pytest.raises(InvalidRequest):
        async with progress.waiting():
            await asyncio.Event().wait()


async def test_time_in_which_nobody_waits_for_it_does_not_count() -> None:
    progress, _ = of_a_body()
    await asyncio.sleep(30 * STEP_S)
    await steps(progress, 0, 1)


async def test_a_body_that_breaks_off_is_refused() -> None:
    progress, request = of_a_body()
    with pytest.raises(InvalidRequest, match="broke off"):
        async with progress.waiting():
            raise web.RequestPayloadError
    assert request[CLOSES]
