"""The supervisor with stand-ins for the Procfile's processes: what it promises does not depend on the service."""

from __future__ import annotations

import os
import signal
import socket
import stat
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from tests.harness.running import Running, command_line, none_runs, running
from tests.harness.support import eventually, free_port, is_running

OWN_STORES = {"DATABASE_URL": "postgresql://own/db", "REDIS_URL": "redis://own/0"}
REAL_VENDORS = {
    "OPENAI_API_KEY": "secret",
    "DEEPSEEK_API_KEY": "secret",
    "GEMINI_API_KEY": "secret",
    "AWS_PROFILE": "secret",
}
"""With stores of its own and all vendors real, a run is nothing but the supervisor and the Procfile."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    return {**OWN_STORES, **REAL_VENDORS, "PROCFILE": str(_procfile(tmp_path))}


def _procfile(folder: Path, worker: str = "worker", web: str = "web") -> Path:
    path = folder / f"Procfile.{web}.{worker}"
    lines = (
        f"{name}: python -m tests.e2e.stand_in {kind}"
        for name, kind in (("release", "release"), ("web", web), ("worker", worker))
    )
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def run(data_dir: Path, bare: dict[str, str]) -> Iterator[Running]:
    with running(data_dir, **bare, PROCESSES="web=2,worker=2") as run:
        yield run


async def test_when_ready_it_tells_where_it_is_in_private_files(run: Running) -> None:
    assert await run.ready() == {
        "url": f"http://127.0.0.1:{run.port}",
        "api_key": None,
        "account_id": None,
        "database_url": "postgresql://own/db",
        "redis_url": "redis://own/0",
        "simulator_url": None,
        "console_url": None,
    }
    assert stat.S_IMODE((run.data_dir / "run.json").stat().st_mode) == 0o600
    rows = run.file("processes.json")
    assert [row["name"] for row in rows] == ["web.1", "web.2", "worker.1", "worker.2"]
    assert len({row["metrics_port"] for row in rows}) == 4
    assert int(_get(f"http://127.0.0.1:{run.port}/readyz")) in {run.pid("web.1"), run.pid("web.2")}


async def test_release_runs_before_the_rest_and_only_workers_are_given_vendor_variables(run: Running) -> None:
    await run.ready()
    told = {}
    for kind in ("release", "web", "worker"):
        told[kind] = await eventually(partial(run.file, f"{kind}.environment"), f"{kind} has told its environment")
    assert "LISTEN_FD" in told["web"]
    assert "OPENAI_API_KEY" not in told["release"] | told["web"]
    assert told["worker"]["OPENAI_API_KEY"] == "secret"
    assert told["web"]["DRAIN_S"] == told["worker"]["DRAIN_S"] == "10"


async def test_the_worker_is_started_without_a_shell_and_in_a_session_of_its_own(run: Running) -> None:
    await run.ready()
    pid = run.pid("worker.1")
    assert command_line(pid)[:3] == ["python", "-m", "tests.e2e.stand_in"]
    assert os.getsid(pid) == pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_leaves_nothing_running_and_nothing_that_says_it_runs(
    run: Running, number: signal.Signals
) -> None:
    await run.ready()
    below = run.descendants()
    assert len(below) == 4
    assert await run.stopped(number) == 0
    assert not any(is_running(pid) for pid in below)
    assert not (run.data_dir / "run.json").exists()
    assert not (run.data_dir / "processes.json").exists()


async def test_a_killed_supervisor_takes_everything_with_it(run: Running) -> None:
    await run.ready()
    below = run.descendants()
    run.process.kill()
    await none_runs(below)


async def test_a_process_that_dies_is_started_again_and_listed_anew(run: Running) -> None:
    await run.ready()
    for name in ("web.1", "worker.2", "web.1", "web.1"):
        old = run.pid(name)
        os.kill(old, signal.SIGKILL)
        new = await eventually(lambda name=name, old=old: run.pid(name) != old and run.pid(name), f"{name} is back")  # type: ignore[misc]
        assert is_running(new)
    assert _get(f"http://127.0.0.1:{run.port}/readyz")


async def test_a_second_run_on_the_folder_is_refused_and_told_who_holds_it(run: Running, bare: dict[str, str]) -> None:
    await run.ready()
    with running(run.data_dir, **bare) as second:
        assert await second.ended() == 1
        assert f"in use by process {run.process.pid}" in second.output
    assert run.file("run.json")


async def test_a_folder_in_which_others_may_have_put_something_is_refused(
    data_dir: Path, bare: dict[str, str], tmp_path: Path
) -> None:
    precious = _planted(data_dir, tmp_path)
    with running(data_dir, **bare) as run:
        assert await run.ended() == 1
    assert f"make run: others may write in {data_dir} (0777)" in run.output
    assert precious.read_text(encoding="utf-8") == "precious"


def _planted(data_dir: Path, elsewhere: Path) -> Path:
    """A file that somebody wants to be written over, behind a link in a folder that is open to all."""
    precious = elsewhere / "precious"
    precious.write_text("precious", encoding="utf-8")
    data_dir.mkdir()
    (data_dir / "run.lock").symlink_to(precious)
    data_dir.chmod(0o777)
    return precious


async def test_two_runs_live_side_by_side(run: Running, bare: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path / "other", **bare) as other:
        assert (await run.ready())["url"] != (await other.ready())["url"]
        assert await other.stopped() == 0
    assert _get(f"http://127.0.0.1:{run.port}/readyz")


async def test_a_taken_port_is_refused_in_one_line(data_dir: Path, bare: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running(data_dir, **(bare | {"PORT": port})) as run:
            assert await run.ended() == 1
            assert f"127.0.0.1:{port} cannot be had" in run.output
            assert run.output.count("\n") == 1


async def test_processes_without_a_worker_are_wrong_usage(data_dir: Path, bare: dict[str, str]) -> None:
    with running(data_dir, **bare, PROCESSES="web=1") as run:
        assert await run.ended() == 2
        assert "at least one worker" in run.output
        assert run.output.count("\n") == 1


async def test_what_does_not_come_up_is_named_with_its_log_and_nothing_is_left(
    data_dir: Path, bare: dict[str, str], tmp_path: Path
) -> None:
    with running(data_dir, **(bare | {"PROCFILE": str(_procfile(tmp_path, web="broken"))})) as run:
        assert await run.ended() == 1
        assert "web.1 ends again and again" in run.output
        assert str(data_dir / "logs" / "web.1.log") in run.output
        assert "the stand-in was told to break" in run.output
    assert not run.file("processes.json")


async def test_a_failed_release_starts_nothing(data_dir: Path, bare: dict[str, str], tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("release: python -m tests.e2e.stand_in broken\nweb: true\nworker: true\n", encoding="utf-8")
    with running(data_dir, **(bare | {"PROCFILE": str(procfile)})) as run:
        assert await run.ended() == 1
        assert "the stand-in was told to break" in run.output
    assert not (data_dir / "logs" / "web.1.log").exists()


async def test_a_second_interrupt_hurries_a_process_that_does_not_end(
    data_dir: Path, bare: dict[str, str], tmp_path: Path
) -> None:
    procfile = str(_procfile(tmp_path, worker="stubborn"))
    with running(data_dir, **(bare | {"PROCFILE": procfile}), DRAIN_S="3600") as run:
        await run.ready()
        worker = run.pid("worker.1")
        run.process.send_signal(signal.SIGINT)
        await eventually(lambda: "Stopping" in run.output, "it stops")
        assert await run.stopped(signal.SIGINT) == 0
        assert not is_running(worker)


async def test_a_stop_during_the_start_leaves_nothing(data_dir: Path, bare: dict[str, str], tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("release: python -m tests.e2e.stand_in worker\nweb: true\nworker: true\n", encoding="utf-8")
    with running(data_dir, **(bare | {"PROCFILE": str(procfile)})) as run:
        await eventually(lambda: run.file("worker.environment"), "the release is under way")
        below = run.descendants()
        assert await run.stopped() == 0
        assert not any(is_running(pid) for pid in below)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_make_run_takes_variables_and_leaves_nothing_when_make_alone_is_signalled(
    data_dir: Path, bare: dict[str, str], number: signal.Signals
) -> None:
    port = free_port()
    with running(data_dir, ("make", "run", f"PORT={port}", "PROCESSES=web=1,worker=1"), **bare) as run:
        assert (await run.ready())["url"] == f"http://127.0.0.1:{port}"
        below = run.descendants()
        await run.stopped(number)
        await none_runs(below)
        assert not run.file("run.json")


async def test_an_embedded_store_is_started_again_after_a_kill_at_the_same_url(
    data_dir: Path, bare: dict[str, str]
) -> None:
    with running(data_dir, **(bare | {"REDIS_URL": ""})) as run:
        url = (await run.ready())["redis_url"]
        pid_file = data_dir / "valkey" / "valkey.pid"
        old = pid_file.read_text(encoding="ascii")
        os.kill(int(old), signal.SIGKILL)
        await eventually(lambda: pid_file.read_text(encoding="ascii") not in {old, ""}, "it is back")
        async with Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 100)) as valkey:
            assert await valkey.ping()
        assert await run.stopped() == 0
