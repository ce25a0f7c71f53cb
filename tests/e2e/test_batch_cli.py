"""`rebootml batch` as a customer runs it, against the running service."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import termios
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.cli.cli import main
from shared.ids import new_id
from tests.e2e.conftest import NewCaller
from tests.e2e.test_batches import line, sent, until
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

COMMAND = Path(sys.executable).with_name("rebootml")
DONE, REFUSED, WRONG_USAGE = 0, 1, 2
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([main.__module__])


class Ran(NamedTuple):
    status: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """The command in an empty folder, with an address and a key in its environment. Each call is a process of its own that is
    forked from one that has loaded the command, because loading takes longer than what the command does; `installed` runs
    what a customer has.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {"PATH": os.defpath, **environment}

    async def __call__(self, *words: str) -> Ran:
        return await asyncio.to_thread(self._forked, words)

    def _forked(self, words: Sequence[str]) -> Ran:
        with tempfile.TemporaryDirectory() as said:
            out, err = Path(said, "out"), Path(said, "err")
            process = FORKING.Process(target=_run, args=(words, self.folder, self.environment, out, err))
            process.start()
            process.join(60)
            status = process.exitcode
            process.kill()
            assert status is not None, "it does not end"
            return Ran(status, out.read_bytes(), err.read_text(encoding="utf-8"))

    async def installed(self, *words: str, err: int = asyncio.subprocess.PIPE) -> Ran:
        process = await asyncio.create_subprocess_exec(
            COMMAND, *words, cwd=self.folder, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=err
        )
        async with asyncio.timeout(60):
            out, complaints = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out, (complaints or b"").decode())

    async def json(self, *words: str, status: int = DONE) -> Any:
        """The one document that `--json` prints, and nothing else anywhere."""
        ran = await self("--json", *words)
        assert (ran.status, ran.err) == (status, ""), ran
        return ran.json

    def file(self, texts: Iterable[str]) -> str:
        lines = [
            {"custom_id": f"id-{number}", "model": MODEL, "messages": [{"role": "user", "content": text}]}
            for number, text in enumerate(texts)
        ]
        path = self.folder / "lines.ndjson"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path.name


@pytest.fixture
def cli(caller: Caller, tmp_path: Path) -> Cli:
    return Cli(tmp_path, REBOOTML_URL=caller.url(""), REBOOTML_API_KEY=caller.key)


def _run(words: Sequence[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """What the forked process does: the command, with files instead of the terminal."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [COMMAND.name, *words]
    for number, path in ((1, out), (2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
    main()


def ids(data: bytes) -> list[str]:
    return [json.loads(line)["custom_id"] for line in data.splitlines()]


async def test_a_file_is_submitted_watched_and_its_results_fetched(cli: Cli) -> None:
    made = await cli.json("batch", "submit", cli.file([told(tokens=2)] * 20), "--watch")
    assert (made["state"], made["counts"]["completed"]) == ("completed", 20)
    assert await cli.json("batch", "show", made["id"]) == made
    streamed = await cli.installed("batch", "results", made["id"])
    assert (streamed.status, ids(streamed.out)) == (DONE, [f"id-{number}" for number in range(20)])
    array = await cli.json("batch", "results", made["id"])
    assert array == [json.loads(line) for line in streamed.out.splitlines()]
    told_of = await cli.json("batch", "results", made["id"], "--output", "out.ndjson")
    assert told_of == {"id": made["id"], "output": "out.ndjson", "lines": 20, "complete": True}
    assert (cli.folder / "out.ndjson").read_bytes() == streamed.out


async def test_a_person_sees_a_bar_and_lines_that_were_not_understood(cli: Cli) -> None:
    path = cli.folder / cli.file([told(tokens=2), told(tokens=3)])
    path.write_text(path.read_text(encoding="utf-8") + "{\n", encoding="utf-8")
    mine, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    try:
        ran = await cli.installed("batch", "submit", path.name, "--watch", err=theirs)
        shown = os.read(mine, 100_000).decode()
    finally:
        os.close(mine)
        os.close(theirs)
    assert ran.status == REFUSED
    assert "line" in shown
    assert "3/3" in shown
    assert "1 failed" in shown
    assert b"3: 2 completed, 1 failed" in ran.out
    assert b"1 of 3 lines" in ran.out
    assert b"Line 3: " in ran.out


async def an_ended_batch(caller: Caller, texts: Iterable[str]) -> tuple[str, bytes]:
    """Its id and all of its results."""
    batch = await sent(caller, [line(f"id-{number}", text) for number, text in enumerate(texts)])
    await until(caller, batch["id"])
    return batch["id"], (await caller.request("GET", f"/api/batches/{batch['id']}/results")).body


async def test_a_download_goes_on_where_it_broke_off(cli: Cli, caller: Caller) -> None:
    batch_id, whole = await an_ended_batch(caller, [told(tokens=2, key=str(n)) for n in range(30)])

    async def goes_on_after(kept: int | None) -> None:
        path = cli.folder / f"out{kept}"
        path.write_bytes(whole[:kept])
        answer = await cli.json("batch", "results", batch_id, "--output", path.name)
        assert (answer["lines"], answer["complete"]) == (30, True)
        assert path.read_bytes() == whole

    await asyncio.gather(*(goes_on_after(kept) for kept in (0, 1, 40, 1_500, -1, -40, None)))


async def test_a_download_with_gaps_or_of_another_batch_begins_anew(cli: Cli, caller: Caller) -> None:
    _, others = await an_ended_batch(caller, [told(tokens=2, key=f"{n}a") for n in range(10)])
    batch_id, whole = await an_ended_batch(caller, [told(tokens=2, key=f"{n}b") for n in range(10)])
    lines = whole.splitlines(keepends=True)
    for there in (others, b"".join(lines[:3] + lines[5:8])):
        (cli.folder / "out").write_bytes(there)
        await cli.json("batch", "results", batch_id, "--output", "out")
        assert (cli.folder / "out").read_bytes() == whole


async def test_a_file_of_something_else_is_left_alone(cli: Cli, caller: Caller) -> None:
    batch_id, _ = await an_ended_batch(caller, [told()])
    (cli.folder / "notes.txt").write_text("mine", encoding="utf-8")
    ran = await cli("batch", "results", batch_id, "--output", "notes.txt")
    assert (ran.status, ran.out, "notes.txt" in ran.err) == (REFUSED, b"", True)
    assert (cli.folder / "notes.txt").read_text(encoding="utf-8") == "mine"


async def test_results_of_a_running_batch_are_what_there_is(cli: Cli, caller: Caller) -> None:
    key = new_id("key")
    batch = await cli.json("batch", "submit", cli.file([told(), told(hold=0, key=key)]))
    watching = asyncio.ensure_future(cli("batch", "show", batch["id"], "--watch", "--json"))

    async def one() -> bool:
        return bool((await cli.json("batch", "results", batch["id"], "--output", "out"))["lines"])

    await eventually_true(one, "a line has ended")
    assert ids((cli.folder / "out").read_bytes()) == ["id-0"]
    await caller.release(key)
    assert (await watching).json["state"] == "completed"
    assert (await cli.json("batch", "results", batch["id"], "--output", "out"))["complete"]


async def test_a_batch_that_is_cancelled_or_has_no_good_line_exits_with_1(cli: Cli, caller: Caller) -> None:
    key = new_id("key")
    batch = await cli.json("batch", "submit", cli.file([told(hold=1, key=key)] * 400))
    watching = asyncio.ensure_future(cli("batch", "show", batch["id"], "--watch", "--json"))
    await caller.request("DELETE", f"/api/batches/{batch['id']}")
    await caller.release(key)
    ended = await watching
    assert (ended.status, ended.json["state"]) == (REFUSED, "cancelled")
    (cli.folder / "bad").write_text("{\n", encoding="utf-8")
    failed = await cli.json("batch", "submit", "bad", status=REFUSED)
    assert (failed["state"], len(failed["errors"])) == ("failed", 1)


async def test_what_is_refused_is_said_in_one_line(cli: Cli, new_caller: NewCaller, tmp_path: Path) -> None:
    poor = await new_caller(credit=0)
    other = Cli(tmp_path, REBOOTML_URL=poor.url(""), REBOOTML_API_KEY=poor.key)
    wrong_key = Cli(tmp_path, REBOOTML_URL=poor.url(""), REBOOTML_API_KEY="rml_no")
    away = Cli(tmp_path, REBOOTML_API_KEY=poor.key)
    file = cli.file([told()])
    for ran, named in (
        (await other("batch", "submit", file), "credit"),
        (await cli("batch", "show", new_id("batch")), "batch"),
        (await cli("batch", "results", "../../account"), "batch"),
        (await wrong_key("batch", "submit", file), "key"),
        (await away("batch", "submit", file, "--url", "http://127.0.0.1:1"), "127.0.0.1:1"),
        (await away("batch", "submit", file), "REBOOTML_URL"),
    ):
        assert (ran.status, ran.out, named in ran.err) == (REFUSED, b"", True), ran
        assert ran.err.count("\n") == 1, ran.err
    assert (await cli("batch", "submit", "nothing.ndjson")).status == WRONG_USAGE
    assert (await cli("batch", "show")).status == WRONG_USAGE


async def test_it_finds_a_running_make_run_and_sends_its_key_to_nobody_else(
    caller: Caller, cluster: Cluster, tmp_path: Path
) -> None:
    url, elsewhere = cluster.url("web-1"), cluster.url("web-2")
    run = {"url": url, "api_key": caller.key, "database_url": "postgresql://", "redis_url": "redis://"}
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "run.json").write_text(json.dumps(run), encoding="utf-8")
    cli = Cli(tmp_path)
    assert (await cli.json("batch", "submit", cli.file([told()])))["state"] == "in_progress"
    ran = await cli("batch", "submit", cli.file([told()]), "--url", elsewhere)
    assert (ran.status, "REBOOTML_API_KEY" in ran.err) == (REFUSED, True)


async def test_the_command_follows_no_redirect(cli: Cli) -> None:
    asked: list[bytes] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 307 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        cli.environment["REBOOTML_URL"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ran = await cli("batch", "show", "batch_1")
    assert (ran.status, len(asked)) == (REFUSED, 1)
    assert "leads to another address: set REBOOTML_URL to that" in ran.err
