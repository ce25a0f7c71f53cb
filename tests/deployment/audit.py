"""`make audit`: known vulnerabilities of the locked dependencies, as far as the advisory service can be asked.

Exit status 0 when there is none that is not accepted, 1 when there is one, 2 when nothing could be checked.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from tests.harness.running import PROJECT

ACCEPTED = PROJECT / "deploy/accepted_advisories.toml"
AUDIT = PROJECT / ".venv-audit/bin/pip-audit"
LOCKS = ("requirements.lock", "deploy/requirements-image.lock", "requirements-uv.lock")
FOUND, NOT_CHECKED = 1, 2


class Advisory(NamedTuple):
    """What is accepted, why, and until which day."""

    id: str
    reason: str
    until: datetime.date


def accepted(path: Path, today: datetime.date) -> tuple[dict[str, Advisory], list[str]]:
    """Those in force by id, and complaints about the others. Raises `TypeError` for an entry that lacks a field."""
    entries = [Advisory(**entry) for entry in tomllib.loads(path.read_text()).get("advisory", [])]
    over = [f"{entry.id} was accepted until {entry.until} only: {entry.reason}" for entry in entries if entry.until < today]
    bare = [f"{entry.id} is accepted without a reason" for entry in entries if not entry.reason.strip()]
    return {entry.id: entry for entry in entries if entry.until >= today and entry.reason.strip()}, over + bare


def judged(report: dict[str, Any], in_force: dict[str, Advisory]) -> list[str]:
    """A line for each vulnerability in pip-audit's report that is accepted under none of its names."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version'}"
        for package in report["dependencies"]
        for found in package.get("vulns", ())
        if not in_force.keys() & {found["id"], *found.get("aliases", ())}
    ]


def main() -> int:
    """Ask for each lock."""
    in_force, complaints = accepted(ACCEPTED, datetime.datetime.now(datetime.UTC).date())
    not_checked = []
    for lock in LOCKS:
        report = _report(lock)
        if report is None:
            not_checked.append(lock)
        else:
            complaints += [f"{lock}: {line}" for line in judged(report, in_force)]
            print(f"checked      {lock}: {len(report['dependencies'])} packages")
    for lock in not_checked:
        print(f"NOT CHECKED  {lock}: the advisory service cannot be reached from here")
    for line in complaints:
        print(f"BAD          {line}")
    return FOUND if complaints else NOT_CHECKED if not_checked else 0


def _report(lock: str) -> dict[str, Any] | None:
    if not AUDIT.exists():
        return None
    options = ("--format", "json", "--progress-spinner", "off", "--timeout", "15", "--disable-pip", "--require-hashes")
    ran = subprocess.run([AUDIT, *options, "-r", PROJECT / lock], capture_output=True, text=True, timeout=600, check=False)
    try:
        report: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        print(ran.stderr.strip().splitlines()[-1:] or "pip-audit said nothing", file=sys.stderr)
        return None
    return report


if __name__ == "__main__":
    sys.exit(main())
