"""The parts of every `rebootml` command: its arguments, and its answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A command's answer. `data` is the `--json` document, `status` the exit status, `shown` what people see instead of
    the document. If `data` and `shown` are None, the command has written its output itself.
    """

    data: Any
    status: int = 0
    shown: Any = None


def add_group(groups: Any, name: str, text: str) -> Any:  # noqa: ANN401 - argparse's own type is private
    """Add a group of commands with two words."""
    return groups.add_parser(name, help=text, description=text).add_subparsers(required=True, metavar="command")


def add_command(groups: Any, name: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:  # noqa: ANN401
    """Add a command, which `run` executes."""
    parser: argparse.ArgumentParser = groups.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser
