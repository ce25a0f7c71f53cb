"""Clients of the Responses API: each does all that the table says, with models of four vendors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from tests.clients.gateway import CLIENTS, Gateway
from tests.clients.responses.cells import CLIENT_PROGRAMS, Cell, asked, faults, program_of

Saying = dict[str, asyncio.Task[str]]


@pytest.fixture(scope="module")
async def saying(gateway: Gateway, cells: list[Cell]) -> AsyncIterator[Saying]:
    """What each client's program says. All run at once, because most of their time goes into loading the clients."""
    told = asked(gateway.url, cells)
    programs = {
        client: asyncio.create_task(gateway.said_of(told, python_of(client), program_of(client)))
        for client in CLIENT_PROGRAMS
    }
    yield programs
    for program in programs.values():
        program.cancel()
    await asyncio.gather(*programs.values(), return_exceptions=True)


@pytest.mark.parametrize("client", CLIENT_PROGRAMS)
async def test_a_client_gets_what_it_should_of_each_vendor(saying: Saying, cells: list[Cell], client: str) -> None:
    assert faults(cells, await saying[client]) == []


def python_of(client: str) -> str:
    """OpenAI's own client is installed with the service; the others have an environment of their own."""
    return sys.executable if client == "openai" else str(CLIENTS / "python")
