"""What `make audit` makes of a report: the service itself is asked by hand."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.audit import ACCEPTED, accepted, judged

TODAY = dt.date(2026, 12, 1)
REPORT: dict[str, Any] = {
    "dependencies": [
        {"name": "good", "version": "1", "vulns": []},
        {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}]},
        {"name": "unknown", "skip_reason": "not on PyPI"},
    ]
}


@pytest.mark.parametrize(
    ("entry", "complaints", "lines"),
    [
        ("", 0, 1),
        ('id = "PYSEC-1"\nreason = "never called"\nuntil = 2026-12-01', 0, 0),
        ('id = "CVE-1"\nreason = "never called"\nuntil = 2026-12-01', 0, 0),
        ('id = "PYSEC-1"\nreason = "never called"\nuntil = 2026-11-30', 1, 1),
        ('id = "PYSEC-1"\nreason = " "\nuntil = 2026-12-01', 1, 1),
        ('id = "PYSEC-2"\nreason = "another"\nuntil = 2026-12-01', 0, 1),
    ],
)
def test_a_vulnerability_counts_unless_it_is_accepted_today(
    entry: str, complaints: int, lines: int, tmp_path: Path
) -> None:
    path = tmp_path / "accepted.toml"
    path.write_text(f"[[advisory]]\n{entry}" if entry else "")
    in_force, said = accepted(path, TODAY)
    assert (len(said), len(judged(REPORT, in_force))) == (complaints, lines)


def test_the_file_of_accepted_advisories_can_be_read() -> None:
    accepted(ACCEPTED, TODAY)
