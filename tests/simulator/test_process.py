"""The simulator as a process of its own: its port file, its health, and its end."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest


async def test_the_process_writes_its_port_serves_and_stops_at_sigterm(tmp_path: Path) -> None:
    file = tmp_path / "port"
    command = (sys.executable, "-m", "deploy.simulator", "--port-file", str(file), "--script", "first_ms=0 pace_ms=0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"listening" in await asyncio.wait_for(process.stdout.readline(), 20)
        assert re.fullmatch(r"\d+", file.read_text())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{file.read_text()}") as session:
            async with session.get("/healthz") as response:
                assert await response.json() == {"status": "ok"}
                assert response.headers["Server"] == "rebootml"
            headers = {"Authorization": "Bearer k"}
            messages = [{"role": "user", "content": "[[sim fault=silence]]"}]
            open_ended = {"model": "gpt-4o", "stream": True, "messages": messages}
            async with session.post("/v1/chat/completions", json=open_ended, headers=headers):
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_wrong_default_stops_the_start() -> None:
    command = (sys.executable, "-m", "deploy.simulator", "--script", "colour=red")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"colour" in told


@pytest.mark.parametrize("how", ["option", "variable"])
async def test_plans_of_a_file_are_known_from_the_start(tmp_path: Path, how: str) -> None:
    """The file may begin with a byte order mark, as editors on Windows write it."""
    file, port = tmp_path / "plans.json", tmp_path / "port"
    file.write_text(json.dumps([{"key": "k1", "turns": [{"text": "As planned."}]}]), encoding="utf-8-sig")
    option = ("--plans", str(file)) if how == "option" else ()
    variable = {"SIM_PLANS": str(file)} if how == "variable" else {}
    command = (sys.executable, "-m", "deploy.simulator", "--port-file", str(port), "--script", "first_ms=0", *option)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **variable}
    )
    try:
        assert process.stdout is not None
        assert b"listening" in await asyncio.wait_for(process.stdout.readline(), 20)
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "[[sim plan=k1]]"}]}
        url, headers = f"http://127.0.0.1:{port.read_text()}/v1/chat/completions", {"Authorization": "Bearer k"}
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
            assert (await response.json())["choices"][0]["message"]["content"] == "As planned."
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"[{}]", "missing required field `key` - at `$[0]`"),
        ("[{}]".encode("utf-16"), "they are in UTF-16; save them as UTF-8"),
    ],
)
async def test_a_wrong_file_of_plans_stops_the_start(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "plans.json"
    if content is not None:
        file.write_bytes(content)
    command = (sys.executable, "-m", "deploy.simulator", "--plans", str(file))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert str(file) in told.decode()
    assert words in told.decode()
