"""The vendors' keys of a worker change in their files: real files, real clients of the vendors, and no network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import structlog

from shared.catalogue.upstreams import Upstream, Upstreams
from shared.secret_files import SecretEnvironment
from shared.vendors import SECRETS
from tests.harness.support import eventually
from workers.providers.loading import LoadedApis, load_upstreams
from workers.providers.protocol import Limits
from workers.vendor_keys import VendorKeys, tell_of_missing

LIMITS = Limits(connections=1, connect_s=1, read_s=1)
SOON_S, NEVER_S = 0.02, 3_600.0


class World:
    """An upstream by the usual variable, and one by a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.usual, self.own = folder / "usual", folder / "own"
        self.usual.write_text("first-usual", encoding="utf-8")
        self.own.write_text("first-own", encoding="utf-8")
        self.upstreams = (
            Upstream(name="openai", provider="openai"),
            Upstream(name="other", provider="openai", key_file=str(self.own)),
        )
        self.environment = SecretEnvironment({"OPENAI_API_KEY_FILE": str(self.usual)}, SECRETS)
        self.held = self.load(self.environment)
        self.loads = 0
        self.changed: list[str] = []

    def load(self, environment: Mapping[str, str]) -> LoadedApis:
        self.loads = getattr(self, "loads", 0) + 1
        return load_upstreams(self.upstreams, {"openai"}, environment, LIMITS)

    async def note_changed(self, name: str) -> None:
        self.changed.append(name)

    @contextlib.asynccontextmanager
    async def watched(self, look_every_s: float) -> AsyncIterator[VendorKeys]:
        keys = VendorKeys(
            self.held,
            self.environment,
            self.upstreams,
            self.load,
            look_every_s=look_every_s,
            calls_end_after_s=NEVER_S,
            on_changed=self.note_changed,
        )
        task = asyncio.ensure_future(keys.run())
        await asyncio.sleep(0)
        try:
            yield keys
        finally:
            task.cancel()
            await keys.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("file", ["usual", "own"])
async def test_a_key_that_changed_is_used_from_the_next_call_on(world: World, file: str) -> None:
    before = dict(world.held)
    async with world.watched(NEVER_S) as keys:
        getattr(world, file).write_text("second", encoding="utf-8")
        keys.look_now()
        await eventually(lambda: world.held["openai"] is not before["openai"], "the keys are new")
        assert set(world.held) == {"openai", "other"}
        await eventually(lambda: world.changed, "somebody is told whose key it is")
        assert world.changed == [{"usual": "openai", "own": "other"}[file]]
        assert world.environment["OPENAI_API_KEY"] == ("second" if file == "usual" else "first-usual")


async def test_a_key_that_changed_is_found_without_being_told(world: World) -> None:
    before = world.held["openai"]
    async with world.watched(SOON_S):
        world.usual.write_text("second", encoding="utf-8")
        await eventually(lambda: world.held["openai"] is not before, "the key is new")


async def test_nothing_is_made_anew_while_nothing_changes(world: World) -> None:
    async with world.watched(NEVER_S) as keys:
        with structlog.testing.capture_logs() as lines:
            keys.look_now()
            await eventually(lambda: len(lines) == 1, "it has looked")
    assert lines[0]["event"] == "vendor keys are as they were"
    assert world.loads == 0


@pytest.mark.parametrize("file", ["usual", "own"])
async def test_a_file_that_has_no_key_changes_nothing_and_is_told_once(world: World, file: str) -> None:
    before = world.held["openai"]
    path: Path = getattr(world, file)
    with structlog.testing.capture_logs() as lines:
        async with world.watched(SOON_S):
            path.write_text(" ", encoding="utf-8") if file == "usual" else path.unlink()  # noqa: ASYNC240 - at once
            await eventually(lambda: lines, "an operator hears of it")
            await asyncio.sleep(5 * SOON_S)
            assert world.held["openai"] is before
    assert [line["alert"] for line in lines] == [True]
    assert str(path) in lines[0]["reason"]
    assert "first" not in str(lines)


def test_a_row_whose_key_is_not_set_is_told_with_its_variable() -> None:
    rows = (
        Upstream(name="main", provider="openai"),
        Upstream(name="eu", provider="openai", key_variable="OPENAI_EU_KEY"),
        Upstream(name="held", provider="openai", key_variable="OPENAI_2_KEY"),
        Upstream(name="elsewhere", provider="gemini"),
    )
    vendors_usual = Upstream(name="openai", provider="openai")
    with structlog.testing.capture_logs() as lines:
        tell_of_missing([*rows, vendors_usual], Upstreams(rows), {"openai"}, LoadedApis({"held": {}}))
    assert [(line["upstream"], line["variable"]) for line in lines] == [
        ("main", "OPENAI_API_KEY"),
        ("eu", "OPENAI_EU_KEY"),
    ]
