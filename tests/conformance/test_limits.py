"""Every wait ends, and whoever leaves takes the vendor's connection along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from deploy.simulator.app import Running
from shared.errors import AnswerTooLong, ProviderError, ProviderTimeout, RebootError
from tests.conformance.cases import (
    CASES,
    LIMITS,
    PATIENCE_S,
    Case,
    Vendors,
    environment,
    expected,
    new_key,
    over,
    promise,
    request,
    streaming,
)
from tests.harness.support import free_port
from workers.providers.loading import load_apis
from workers.providers.protocol import Limits, Piece

LIMIT_S = 0.3


@pytest.fixture(scope="module")
async def impatient(simulator: Running) -> AsyncIterator[Vendors]:
    """Providers that do not wait for a byte for long."""
    made = Vendors(simulator, Limits(connections=3, connect_s=LIMITS.connect_s, read_s=LIMIT_S))
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def narrow(simulator: Running) -> AsyncIterator[Vendors]:
    """Providers with few connections."""
    made = Vendors(simulator, Limits(connections=3, connect_s=LIMITS.connect_s, read_s=LIMITS.read_s))
    yield made
    await made.close()


async def left(vendors: Vendors, key: str) -> None:
    """Wait until the simulator has noticed that its client is gone."""
    await vendors.simulator.calls.until(lambda log: bool(log.find(key, "client_gone")))


async def begun(vendors: Vendors, key: str) -> None:
    await vendors.simulator.calls.until(lambda log: bool(log.find(key)))


@promise("silence ends at the idle limit, and the connection with it")
@streaming()
async def test_idle_limit(vendors: Vendors, case: Case) -> None:
    faults = [f"fault={fault} after={after}" for fault in ("silence", "comments") for after in (0, 3)]
    asked = (vendors.ask(case, f"tokens=9 {fault}", idle_s=LIMIT_S) for fault in faults)
    for got in await asyncio.gather(*asked):
        assert isinstance(got.error, ProviderTimeout)
        assert got.call.ending == "client_gone"


@promise("every answer ends at the total limit, and the connection with it")
@over()
async def test_total_limit(vendors: Vendors, case: Case) -> None:
    faults = ("fault=silence", "fault=comments", "fault=slow_headers first_ms=60000", "fault=endless pace_ms=1")
    asked = (vendors.ask(case, f"tokens=9 {fault}", total_s=LIMIT_S) for fault in faults)
    *silent, endless = await asyncio.gather(*asked)
    assert all(isinstance(got.error, ProviderTimeout) for got in silent), silent
    # an endless body may pass the largest answer there is before the time is up
    assert isinstance(endless.error, (ProviderTimeout, ProviderError))
    assert {got.call.ending for got in (*silent, endless)} == {"client_gone"}


@promise("a body without end is read no further than an answer can go, and the connection ends with it")
@over(*(case for case in CASES if not case.streams))
async def test_size_limit(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 fault=endless pace_ms=0")
    assert type(got.error) is AnswerTooLong
    assert got.call.ending == "client_gone"


@promise("silence ends at the read limit of the connection too")
@over()
async def test_read_limit(impatient: Vendors, case: Case) -> None:
    key = new_key()
    with pytest.raises(ProviderTimeout):
        async with asyncio.timeout(PATIENCE_S):
            await _drained(impatient.pieces(request(case, f"tokens=9 fault=silence after=3 key={key}")))
    await left(impatient, key)


@promise("a vendor that nobody reaches is a provider_error")
@over()
async def test_unreachable(case: Case) -> None:
    nowhere = Running(f"http://127.0.0.1:{free_port()}", None)  # type: ignore[arg-type]
    provider = load_apis(case.model.provider, environment(nowhere), LIMITS)[case.api]
    with pytest.raises(ProviderError) as caught:
        await _drained(provider.stream(request(case, "")))
    assert type(caught.value) is ProviderError
    await provider.close()


@promise("closing the iterator closes the vendor's connection")
@streaming()
async def test_closing_mid_stream(vendors: Vendors, case: Case) -> None:
    key = new_key()
    pieces = vendors.pieces(request(case, f"tokens=9 hold=2 key={key}"))
    async with asyncio.timeout(PATIENCE_S):
        await anext(pieces)
        await pieces.aclose()
    await left(vendors, key)


@promise("cancelling whoever waits closes the vendor's connection")
@over()
@pytest.mark.parametrize("where", ["first_ms=60000 fault=slow_headers", "fault=silence", "fault=comments"])
async def test_cancelling(vendors: Vendors, case: Case, where: str) -> None:
    key = new_key()
    task = asyncio.create_task(_drained(vendors.pieces(request(case, f"tokens=9 {where} after=3 key={key}"))))
    await begun(vendors, key)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await left(vendors, key)


@promise("calls that were left give their connections back")
@over()
async def test_connections_come_back(narrow: Vendors, case: Case) -> None:
    for _ in range(5):
        key = new_key()
        task = asyncio.create_task(_drained(narrow.pieces(request(case, f"tokens=9 first_ms=60000 key={key}"))))
        await begun(narrow, key)
        task.cancel()
        await asyncio.wait([task])
    assert (await narrow.ask(case, "tokens=3")).finished == ["stop"]


@promise("as many calls at a time as the worker has slots")
@streaming()
async def test_as_many_calls_as_slots(vendors: Vendors, case: Case) -> None:
    key = new_key()
    calls = [vendors.pieces(request(case, f"tokens=4 hold=1 key={key}")) for _ in range(LIMITS.connections - 10)]
    async with asyncio.timeout(PATIENCE_S):
        firsts = await asyncio.gather(*(_first_text(call) for call in calls))
    assert set(firsts) == {expected(case, "tokens=1", key)}
    vendors.simulator.simulator.release(key)
    await asyncio.gather(*(_drained(call) for call in calls))


@promise("nothing is retried in hiding")
@over()
async def test_nothing_is_retried(vendors: Vendors, case: Case) -> None:
    for fault in ("status=500", "status=429", "status=503", "fault=cut", "fault=empty"):
        got = await vendors.ask(case, f"{fault} times=1")
        assert isinstance(got.error, RebootError)
        assert len(got.calls) == 1


async def _first_text(pieces: AsyncGenerator[Piece, None]) -> str:
    while not isinstance(piece := await anext(pieces), str):
        pass
    return piece


async def _drained(pieces: AsyncGenerator[Piece, None]) -> list[Piece]:
    return [piece async for piece in pieces]


def test_all_apis_are_covered() -> None:
    assert {case.api for case in CASES} == {
        "openai-chat",
        "openai-responses",
        "openai-realtime",
        "deepseek-chat",
        "bedrock-converse",
        "bedrock-invoke",
        "gemini",
    }
