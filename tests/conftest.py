"""Servers for the tests that need real ones: of their own, in a temporary folder, stopped at the end."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from deploy.local.stores import embedded_postgres, embedded_valkey
from tests.harness.figures import FIGURE, SEED, Figure, Figures
from tests.harness.servers import UNSYNCED
from tests.harness.side_by_side import GroupScheduling, turn_of

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")  # a busy machine is no fault of what is tested

FIGURES = Figures()
"""What the proofs have measured, in whichever process."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage among what every test needs: that would take half as long again as importing it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn_of)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a test has measured; the report of its teardown carries it from process to process."""
    if report.when == "teardown":
        for name, line in report.user_properties:
            if name == FIGURE:
                FIGURES.take(Figure(*line))  # type: ignore[misc] # a tuple that became a list on its way


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One table of everything that was measured."""
    if lines := FIGURES.table():
        terminalreporter.section(f"proofs, seed {SEED} (make proofs SEED={SEED} repeats the run)")
        terminalreporter.write("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def stores_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="session")
async def postgres_url(stores_folder: Path) -> AsyncIterator[str]:
    """An empty database `rebootml`, shared by the session: whoever uses it migrates and isolates by its own rows."""
    async with embedded_postgres(stores_folder, UNSYNCED) as url:
        yield url


@pytest.fixture(scope="session")
async def redis_url(stores_folder: Path) -> AsyncIterator[str]:
    """A Valkey shared by the session; it starts empty."""
    async with embedded_valkey(stores_folder) as url:
        yield url
