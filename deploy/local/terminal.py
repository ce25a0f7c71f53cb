"""The text for the person at the terminal: one line per stage, and the welcome at the end.

The processes' own logs go to `DATA_DIR/logs/NAME.log`: two busy front doors would push the URL and the key out of
sight. A file that the child writes itself costs no copying, cannot block the child, and is still there after a kill -9.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from deploy.local.vendors import how_rows_are_called, is_real
from shared.vendors import VENDORS, Vendor

MODEL = "openai-gpt-4o-mini"


def say(text: str) -> None:
    """Print at once. If the reader has gone (`make run | head`), the run must still stop in order."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def stage(name: str, text: str) -> None:
    """Report one stage of the start."""
    say(f"  {name:<10} {text}")


def welcome(
    url: str, api_key: str | None, console_url: str | None, data_dir: Path, environment: Mapping[str, str]
) -> str:
    """The text that says where the service is, how to call it, and what is real."""
    return "\n".join(
        (
            "",
            f"RebootML is ready: {url}",
            "",
            *(
                (f"  console    {console_url}", "             (signs in once; later with the key)")
                if console_url
                else ()
            ),
            f"  operators  {url}/console/ops",
            f"             (its pages are to come; until then: {_command(data_dir)} top, or its other commands)",
            "",
            *_how_to_call(url, api_key),
            "",
            *(f"  {vendor.title:<9} {_reality(vendor, environment)}" for vendor in VENDORS.values()),
            *(f"  {line}" for line in how_rows_are_called(environment)),
            "",
            f"Logs: {_short(data_dir)}/logs/   Details: {_short(data_dir)}/run.json   Ctrl-C stops everything.",
        )
    )


def _how_to_call(url: str, api_key: str | None) -> tuple[str, ...]:
    if api_key is None:
        return ("No demo account on a database of your own: `rebootml account create`, or run again with DEMO=1.",)
    body = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"Hello!"}}],"options":{{"stream":true}}}}'
    return (
        f"  key  {api_key}",
        "",
        f"  curl -N {url}/api/endpoint \\",
        f"    -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \\",
        f"    -d '{body}'",
    )


def _command(data_dir: Path) -> str:
    """The operators' command as it has to be typed for this run."""
    known = "" if data_dir == Path(".data").absolute() else f"DATA_DIR={shlex.quote(_short(data_dir))} "
    return f"{known}.venv/bin/rebootml"


def _reality(vendor: Vendor, environment: Mapping[str, str]) -> str:
    if is_real(vendor, environment):
        return "real: requests are sent to the vendor and cost money"
    return f"simulated (set {vendor.chosen_by[0]} for the real one)"


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
