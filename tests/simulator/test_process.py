"""The simulator as a process of its own: its port file, its health, and its end."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import aiohttp


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
