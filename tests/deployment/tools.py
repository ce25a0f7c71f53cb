"""The tools of the checks, and what several checks ask."""

from __future__ import annotations

import re
import subprocess

from shared.secret_files import SUFFIX
from shared.settings import Settings, SettingsError
from tests.harness.running import PROJECT

TOOLS = PROJECT / ".venv-deploy" / "bin"
AFTER_DRAIN_S = 20
"""A worker's last words and its settlements, each up to ten seconds."""


STORES = ("DATABASE_URL", "REDIS_URL")
SECRET = re.compile(r"^(?!PUBLIC_URL$).*(_KEY|_TOKEN|_URL|_KEY_ID|_HEADERS|PASSWORD|SECRET)$")


def refused(variables: dict[str, str], stores: tuple[str, ...] = STORES) -> list[str]:
    """What a process would say to these variables, with a file for each secret; those that no process reads; secrets
    that are no files; and files of `stores` that are lacking.
    """
    bare = [f"{name} is a secret in a variable" for name in variables if SECRET.match(name)]
    bare += [f"{name}{SUFFIX} is not given" for name in stores if name + SUFFIX not in variables]
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
        bare.append(str(error))
    return bare + [f"{name} is no setting" for name in strange]


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
