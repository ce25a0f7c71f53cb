"""`make audit`: known vulnerabilities of the locked dependencies, as far as the advisory service can be asked.

Exit status 0 when there is none that is not accepted, 1 when there is one, 2 when nothing could be checked.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from tests.harness.running import PROJECT

ACCEPTED = PROJECT / "deploy/accepted_advisories.toml"
AUDIT = PROJECT / ".venv-audit/bin/pip-audit"
LOCKS = ("requirements.lock", "deploy/requirements-image.lock", "requirements-uv.lock")
FOUND, NOT_CHECKED = 1, 2
WITHIN_S = 600
NOTHING: dict[str, Any] = {"dependencies": []}
KNOWN_TO_BE_BAD = "jinja2==2.11.2"
"""Mirrors of registries answer without advisories: only a service that knows those of this version can be asked."""


class Advisory(NamedTuple):
    """What is accepted, why, and until which day."""

    id: str
    reason: str
    until: dt.date


def accepted(path: Path, today: dt.date) -> tuple[dict[str, Advisory], list[str]]:
    """Those in force by id, and complaints about the others. Raises `TypeError` for an entry that lacks a field."""
    entries = [Advisory(**entry) for entry in tomllib.loads(path.read_text()).get("advisory", [])]
    over = [
        f"{entry.id} was accepted until {entry.until} only: {entry.reason}" for entry in entries if entry.until < today
    ]
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
    in_force, complaints = accepted(ACCEPTED, dt.datetime.now(dt.UTC).date())
    not_checked = []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(KNOWN_TO_BE_BAD)
        file.flush()
        knows = bool(judged(_report(Path(file.name), "--no-deps"), {}))
    for lock in LOCKS:
        report = _report(PROJECT / lock, "--require-hashes") if knows else NOTHING
        skipped = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
        not_checked += [f"{lock}: {', '.join(skipped)}"] if skipped else [] if report["dependencies"] else [lock]
        complaints += [f"{lock}: {line}" for line in judged(report, in_force)]
        print(
            f"{'asked' if knows else 'not asked':12} {lock}: {len(report['dependencies']) - len(skipped)} packages checked"
        )
    for what in not_checked:
        print(f"{'NOT CHECKED':12} {what}" + ("" if knows else ": no advisory service can be reached from here"))
    for line in complaints:
        print(f"{'BAD':12} {line}")
    return FOUND if complaints else NOT_CHECKED if not_checked else 0


def _report(lock: Path, *options: str) -> dict[str, Any]:
    """Of pip-audit; one without packages when it cannot be had."""
    asked = (
        *options,
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "15",
        "--disable-pip",
        "-r",
        str(lock),
    )
    try:
        ran = subprocess.run([str(AUDIT), *asked], capture_output=True, text=True, timeout=WITHIN_S, check=False)
        report: dict[str, Any] = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return NOTHING
    return report


if __name__ == "__main__":
    sys.exit(main())
