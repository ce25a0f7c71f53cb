"""Each line of a log is one fact, for readers that split as Python's `str.splitlines` does."""

from __future__ import annotations

import json
import subprocess
import sys

SPLITS = "a\nb\rc\x0bd\x1ce\x85f\u2028g\u2029h"
CODE = f"""
import logging, structlog
from shared.runtime.telemetry import configure
from shared.settings import Settings
configure(Settings(database_url="", redis_url=""), "web")
structlog.get_logger("ours").info("told", what={SPLITS!r})
logging.getLogger("theirs").warning({SPLITS!r})
try:
    raise ValueError({SPLITS!r})
except ValueError:
    structlog.get_logger("ours").exception("failed")
"""
"""In a process of its own, whose logs it sets up."""


def test_no_character_ends_a_line_of_a_log() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, timeout=60)
    lines = [json.loads(line) for line in ran.stdout.decode().splitlines()]
    assert [(line["event"], line.get("what")) for line in lines] == [("told", SPLITS), (SPLITS, None), ("failed", None)]
    assert SPLITS in lines[2]["exception"]
