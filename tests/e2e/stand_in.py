"""Stands in for the Procfile's processes, so that the supervisor is tested without the service it runs.

`python -m tests.e2e.stand_in web|worker|stubborn|release|broken`; each leaves its environment in DATA_DIR.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

DATA_DIR = Path(os.environ["DATA_DIR"])


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        released = (DATA_DIR / "release.environment").exists()
        self.send_response(200 if released else 503)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())


def web() -> None:
    server = HTTPServer(("", 0), Page, bind_and_activate=False)
    server.socket = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
    server.serve_forever()


def worker() -> None:
    signal.pause()


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def release() -> None:
    pass


def broken() -> None:
    sys.exit("the stand-in was told to break")


def main(kind: str) -> None:
    draft = DATA_DIR / f"{kind}.{os.getpid()}"
    draft.write_text(json.dumps(dict(os.environ)), encoding="utf-8")
    draft.replace(DATA_DIR / f"{kind}.environment")
    {"web": web, "worker": worker, "stubborn": stubborn, "release": release, "broken": broken}[kind]()


if __name__ == "__main__":
    main(sys.argv[1])
