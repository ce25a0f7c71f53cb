"""The embedded Postgres and Valkey: whatever happened before, a start brings back what was committed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL
from urllib.parse import unquote

import asyncpg
import pytest
from redis.asyncio import Redis

from deploy.local.data_dir import socket_folder
from deploy.local.errors import StartError
from deploy.local.postgres import Postgres
from deploy.local.stores import embedded_postgres, embedded_valkey, start
from deploy.local.valkey import Valkey
from tests.harness.support import eventually, is_running

OWNER = """
import asyncio, sys
from pathlib import Path
from deploy.local.stores import embedded_postgres, embedded_valkey
async def main():
    folder = Path(sys.argv[1])
    async with embedded_postgres(folder), embedded_valkey(folder):
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


async def _query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def _postmaster(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])


async def test_both_answer_on_a_private_socket_only_and_nothing_is_left_running(folder: Path) -> None:
    async with embedded_postgres(folder) as postgres_url, embedded_valkey(folder) as valkey_url:
        assert await _query(postgres_url, "SELECT current_database()") == "rebootml"
        assert await _query(postgres_url, "SHOW listen_addresses") == ""
        async with Redis.from_url(valkey_url) as valkey:
            settings = await valkey.config_get("*")
        assert (settings["port"], settings["maxmemory-policy"], settings["appendonly"]) == ("0", "noeviction", "yes")
        pids = [_postmaster(folder), int((folder / "valkey" / "valkey.pid").read_text(encoding="ascii"))]
        for store in ("postgres", "valkey"):
            assert stat.S_IMODE((folder / store).stat().st_mode) == 0o700
    assert not any(is_running(pid) for pid in pids)


async def test_postgres_keeps_what_was_committed_through_a_kill_and_stays_at_its_url(folder: Path) -> None:
    with socket_folder(folder / "postgres") as sockets:
        postgres = Postgres(folder, sockets)
        child = await start(postgres)
        await _query(postgres.url, "CREATE TABLE kept AS SELECT 42 AS number")
        os.kill(_postmaster(folder), SIGKILL)
        assert await child.ended() == -SIGKILL
        child = await start(postgres)
        assert await _query(postgres.url, "SELECT number FROM kept") == 42
        assert await child.stop(20)


async def test_valkey_keeps_what_was_written_through_a_kill_and_stays_at_its_url(folder: Path) -> None:
    with socket_folder(folder / "valkey") as sockets:
        valkey = Valkey(folder, sockets)
        child = await start(valkey)
        async with Redis.from_url(valkey.url) as client:
            await client.set("kept", "42")
        await child.kill()
        child = await start(valkey)
        async with Redis.from_url(valkey.url) as client:
            assert await client.get("kept") == b"42"
        assert await child.stop(20)


async def test_a_pid_file_that_names_a_stranger_or_a_dead_process_is_removed(folder: Path) -> None:
    async with embedded_postgres(folder):
        pass
    ended = subprocess.Popen(["true"])  # noqa: ASYNC220 - left uncollected: a zombie
    await eventually(lambda: not is_running(ended.pid), "true has ended")
    for pid in (os.getpid(), ended.pid, 2**22 + 1):
        (folder / "postgres" / "postmaster.pid").write_text(f"{pid}\n", encoding="ascii")
        async with embedded_postgres(folder) as url:
            assert await _query(url, "SELECT 1") == 1
    ended.wait()


@pytest.mark.parametrize("name", ["x" * 100, "with spaces, commas & more?"])
async def test_a_path_no_socket_can_have_is_no_obstacle(folder: Path, name: str) -> None:
    data_dir = folder / name
    async with embedded_postgres(data_dir) as postgres_url, embedded_valkey(data_dir) as valkey_url:
        assert await _query(postgres_url, "SELECT 1") == 1
        async with Redis.from_url(valkey_url) as valkey:
            assert await valkey.ping()
        sockets = Path(unquote(valkey_url.removeprefix("unix://").partition("?")[0])).parent
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert not sockets.exists()
    assert {path.name for path in data_dir.iterdir()} == {"postgres", "valkey", "logs"}


async def test_both_end_with_the_process_that_started_them_and_start_again(folder: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE)  # noqa: ASYNC220 - short
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"ready\n"
    pids = [_postmaster(folder), int((folder / "valkey" / "valkey.pid").read_text(encoding="ascii"))]
    owner.kill()
    owner.communicate()
    async with embedded_postgres(folder) as url, embedded_valkey(folder):
        assert await _query(url, "SELECT 1") == 1
    await eventually(lambda: not any(is_running(pid) for pid in pids), "both have ended")


async def test_a_start_that_cannot_be_names_the_log_and_leaves_nothing(folder: Path) -> None:
    async with embedded_postgres(folder):
        pass
    (folder / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n", encoding="utf-8")
    with pytest.raises(StartError, match="no_such_setting") as refused:
        async with embedded_postgres(folder):
            pass
    assert str(folder / "logs" / "postgres.log") in str(refused.value)
