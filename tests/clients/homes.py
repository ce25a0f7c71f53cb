"""Where `make test-clients` installs foreign clients, each with what it needs and nothing of the others'."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.clients.gateway import ROOT, blocks_of

HOMES = ROOT / ".clients" / ("newest" if os.environ.get("NEWEST") else "")
"""`NEWEST=1` has others, of the newest versions that there are."""


def home_of(client: str) -> Path:
    """The folder of one client; the test is skipped where it could not be installed, which its installer has said."""
    home = HOMES / client
    if not (home / ".installed").exists():
        pytest.skip(f"{client} is not installed: `make test-clients` says why above")
    return home


def folder_of(client: str, program: str) -> Path:
    """Where a program of the client is, by a pattern such as `node_modules/*-linux-*/bin/name`."""
    found = sorted(home_of(client).glob(program))
    if not found:  # its package has programs for some machines only
        pytest.skip(f"{client} has no {program} for this machine")
    return found[0].parent


def set_up(page: str, block: int) -> str:
    """What a block in `sh` on a client's page does before its last line, which asks something."""
    code = blocks_of(page)[block].code.rstrip().splitlines()
    return "\n".join(code[:-1])
