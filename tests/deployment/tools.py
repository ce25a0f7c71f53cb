"""The tools of the checks, and what several checks ask."""

from __future__ import annotations

import subprocess

from shared.secret_files import SUFFIX
from shared.settings import Settings, SettingsError
from tests.harness.running import PROJECT

TOOLS = PROJECT / ".venv-deploy" / "bin"
AFTER_DRAIN_S = 20
"""A worker's last words and its settlements, each up to ten seconds."""


def refused(variables: dict[str, str]) -> list[str]:
    """What a process would say to these variables, with a file for each secret; and those that no process reads."""
    known = {field.upper() for field in Settings.__struct_fields__} | {"CATALOGUE"}
    strange = [
        name
        for name in variables
        if name not in known and not name.endswith(SUFFIX) and not name.startswith(("AWS_", "OTEL_"))
    ]
    given = {name: value for name, value in variables.items() if not name.endswith(SUFFIX)}
    given |= {"DATABASE_URL": "postgresql://u@h/d", "REDIS_URL": "redis://h/0"}
    try:
        Settings.load(given)
    except SettingsError as error:
        return [*(f"{name} is no setting" for name in strange), str(error)]
    return [f"{name} is no setting" for name in strange]


def unless(is_well: bool, problem: str) -> list[str]:  # noqa: FBT001 - a sentence: unless this, that
    """The problem, as a list, if there is one."""
    return [] if is_well else [problem]


def told(*command: object, stdin: str = "") -> list[str]:
    """What a tool says when it is not content."""
    ran = run(*command, stdin=stdin)
    return [] if ran.returncode == 0 else [(ran.stdout + ran.stderr).strip()]


def run(*command: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a tool to its end."""
    words = [str(word) for word in command]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=120, check=False)
