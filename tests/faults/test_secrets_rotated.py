"""Passwords of the stores and keys of vendors change under load: no request fails, and nobody is restarted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.e2e.conftest import customers
from tests.faults.conftest import Scale
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually, eventually_true

PROOF = "rotated secrets"
MODELS = ("openai-gpt-4o-mini", "deepseek-chat", "google-gemini-2.0-flash", "amazon-nova-lite")
USER = "gateway"
VENDOR_KEYS = {"openai": "OPENAI_API_KEY", "deepseek": "DEEPSEEK_API_KEY", "gemini": "GEMINI_API_KEY"}
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
CALLERS = 8


class Secrets:
    """The files of a service's secrets, how each kind is changed at its server, and the variables that name them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder
        self._number = 0

    def path(self, name: str) -> Path:
        return self._folder / name

    def write(self, name: str, secret: str) -> None:
        """At once, as who mounts secrets does it."""
        draft = self._folder / "draft"
        draft.write_text(secret + "\n", encoding="utf-8")
        draft.replace(self.path(name))

    def new(self) -> str:
        """A secret with an end of its own, by which the simulator knows it."""
        self._number += 1
        return f"secret-{self._number:04d}"

    def for_stores(self, postgres: str, redis: str) -> None:
        """The stores' addresses with these passwords."""
        self.write("DATABASE_URL", self.cluster.postgres.url.replace("postgres@", f"{USER}:{postgres}@"))
        self.write("REDIS_URL", self.cluster.valkey.url.replace("unix://", f"unix://{USER}:{redis}@"))

    def environment(self, kind: str) -> dict[str, str]:
        names = ["DATABASE_URL", "REDIS_URL"]
        told: dict[str, str] = {}
        if kind == "worker":
            vendor = f"http://127.0.0.1:{self.cluster.simulator.port}"
            names += [*VENDOR_KEYS.values(), *AWS]
            told = {
                "OPENAI_BASE_URL": f"{vendor}/v1",
                "DEEPSEEK_BASE_URL": f"{vendor}/deepseek",
                "GOOGLE_GEMINI_BASE_URL": f"{vendor}/gemini",
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"{vendor}/bedrock",
                "AWS_REGION": "us-east-1",
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_CONFIG_FILE": os.devnull,
            }
        return told | dict.fromkeys(names, "") | {f"{name}_FILE": str(self.path(name)) for name in names}

    async def begin(self) -> None:
        """Everything has a first secret, and the stores ask for it."""
        hba = self.cluster.postgres.store.folder / "pg_hba.conf"  # type: ignore[attr-defined] # of the real server
        hba.write_text(f"local all {USER} scram-sha-256\n{hba.read_text('utf-8')}", encoding="utf-8")
        await self.cluster.postgres.fetch("SELECT pg_reload_conf()")
        postgres, redis = self.new(), self.new()
        await self.cluster.postgres.fetch(f"CREATE ROLE {USER} LOGIN SUPERUSER PASSWORD '{postgres}'")
        await self.cluster.valkey.command("ACL", "SETUSER", USER, "on", f">{redis}", "~*", "&*", "+@all")
        self.for_stores(postgres, redis)
        for name in (*VENDOR_KEYS.values(), *AWS):
            self.write(name, self.new())

    def hang_up(self) -> None:
        for name in (*self.cluster.doors, *self.cluster.workers):
            self.cluster.hang_up(name)

    async def rotate_postgres(self, _: Load) -> None:
        """The password, then every connection is made anew with it."""
        password, began = self.new(), await self.cluster.postgres.fetch("SELECT clock_timestamp() AS now")
        await self.cluster.postgres.fetch(f"ALTER ROLE {USER} PASSWORD '{password}'")
        self.write("DATABASE_URL", self.cluster.postgres.url.replace("postgres@", f"{USER}:{password}@"))
        self.hang_up()
        await eventually_true(
            lambda: self._none(
                "SELECT 1 FROM pg_stat_activity WHERE usename = $1 AND backend_start < $2", USER, began[0]["now"]
            ),
            "all connections are newer than the password",
        )

    async def rotate_redis(self, _: Load) -> None:
        """The password, then every connection is cut, so that each is made anew with it."""
        password = self.new()
        self.write("REDIS_URL", self.cluster.valkey.url.replace("unix://", f"unix://{USER}:{password}@"))
        await self.cluster.valkey.command("ACL", "SETUSER", USER, "resetpass", f">{password}")
        await self.cluster.valkey.command("CLIENT", "KILL", "USER", USER)

    async def rotate_vendors(self, load: Load) -> None:
        """New keys, and when the calls under way have ended, the vendors refuse the old ones."""
        before = {vendor: self.path(name).read_text("utf-8").strip() for vendor, name in VENDOR_KEYS.items()}
        before["bedrock"] = self.path(AWS[0]).read_text("utf-8").strip()
        for name in (*VENDOR_KEYS.values(), *AWS):
            self.write(name, self.new())
        renewed = self._renewals() + len(self.cluster.workers)
        self.hang_up()
        await eventually(lambda: self._renewals() >= renewed, "all workers have the new keys")
        await load.under_way_has_ended()
        for vendor, key in before.items():
            await self.cluster.simulator.befall(vendor=vendor, key=key, fault="wrong_key")

    def _renewals(self) -> int:
        return sum(path.read_bytes().count(b'"event":"vendor keys renewed"') for path in self.cluster.logs())

    async def _none(self, query: str, *arguments: object) -> bool:
        return not await self.cluster.postgres.fetch(query, *arguments)


ROTATIONS = (Secrets.rotate_postgres, Secrets.rotate_redis, Secrets.rotate_vendors)


@pytest.fixture
async def secrets(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secrets]:
    """A service all of whose secrets stand in files."""
    folder = tmp_path_factory.mktemp("rotated")
    (folder / "secrets").mkdir()
    async with running_cluster(
        folder, {"LEASE_S": "3", "REQUEST_DEADLINE_S": "60"}, doors=0, workers=0, direct=True
    ) as cluster:
        secrets = Secrets(cluster, folder / "secrets")
        await secrets.begin()
        for name in ("web-1", "web-2", "worker-1", "worker-2"):
            cluster.start(name, shared=False, **secrets.environment(name.partition("-")[0]))
        await cluster.ready()
        yield secrets


class Load:
    """Callers who ask one after the other until they are told to stop."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._ends = asyncio.Event()
        self.failures: list[str] = []
        self.took_s: list[float] = []
        self.answers: Counter[str] = Counter()
        self._ended = [0] * CALLERS
        """Requests of each caller."""

    async def _ask(self, caller: int) -> None:
        number = caller
        while not self._ends.is_set():
            model, began = MODELS[number % len(MODELS)], time.perf_counter()
            reply = await self._caller.chat(told(tokens=20, pace_ms=5), model, stream=number % 2 == 0)
            self.took_s.append(time.perf_counter() - began)
            self.answers[model] += 1
            self._ended[caller] += 1
            if reply.status != 200 or not reply.complete or b"error" in reply.body:
                self.failures.append(f"{model}: {reply.status} {reply.body[-300:]!r}")
            number += 2  # the same form, another model

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(self._ask(caller)) for caller in range(CALLERS)]
        try:
            yield
        finally:
            self._ends.set()
            await asyncio.gather(*tasks)

    async def under_way_has_ended(self) -> None:
        """Wait until whatever was asked before has its answer."""
        before = list(self._ended)
        await eventually(
            lambda: all(now > then for now, then in zip(self._ended, before, strict=True)),
            "all have answers",
            deadline_s=60,
        )

    async def goes_on(self) -> None:
        """Wait until every model has answered a few times more."""
        before = Counter(self.answers)

        async def answered() -> bool:
            return all(self.answers[model] >= before[model] + 3 for model in MODELS)

        await eventually_true(answered, "every model has answered", deadline_s=60)


async def test_no_request_fails_while_every_kind_of_secret_changes(
    secrets: Secrets, scale: Scale, figures: Figures
) -> None:
    rounds = 10 if scale.long else 1
    async with (
        asyncpg.create_pool(secrets.cluster.postgres.url, min_size=1, max_size=4) as books,
        customers(secrets.cluster, books) as make,
    ):
        load = Load(await make(100_000_000_000))
        async with load.running():
            await load.goes_on()
            for _ in range(rounds):
                for rotate in ROTATIONS:
                    await rotate(secrets, load)
                    await load.goes_on()
    assert not load.failures, load.failures[:5]
    secrets.cluster.check_nobody_died()
    logs = b"".join(path.read_bytes() for path in secrets.cluster.logs())
    assert b"secret-0" not in logs
    figures.add(PROOF, "rotations of each of three kinds of secret", rounds)
    figures.add(PROOF, "requests meanwhile, and how many failed", f"{len(load.took_s)}, {len(load.failures)}")
    figures.spread(PROOF, "answers that take the vendor 0.1 s", load.took_s)
