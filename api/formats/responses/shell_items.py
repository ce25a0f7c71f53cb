"""Calls of the tools that OpenAI's models know without a schema, and their outputs, as items of the Responses API."""

from __future__ import annotations

from typing import Any, Literal

from api.formats.openai.messages import CallId
from api.formats.responses.parts import Item, Strict
from shared.json_bounds import refuse_depth


class LocalShellAction(Strict, frozen=True, kw_only=True):
    """A command with its arguments, for `local_shell`."""

    type: Literal["exec"]
    """Always `exec`."""
    command: list[str]
    """The program and its arguments."""
    env: dict[str, str] | None = None
    """Environment variables for the command."""
    timeout_ms: int | None = None
    """The milliseconds after which the command is stopped."""
    user: str | None = None
    """The user as whom the command runs."""
    working_directory: str | None = None
    """The folder in which the command runs."""


class LocalShellCallItem(Item, frozen=True, kw_only=True, tag="local_shell_call"):
    """A command that the model wanted to be run, from an earlier answer."""

    call_id: CallId
    """The id of the call, which its output repeats."""
    action: LocalShellAction
    """The command and its arguments."""


class LocalShellOutputItem(Item, frozen=True, kw_only=True, tag="local_shell_call_output"):
    """The output of a command."""

    output: str
    """The text that the command printed."""
    call_id: CallId | None = None
    """The `call_id` of the call; clients that leave it out send it in `id`."""


class ShellAction(Strict, frozen=True, kw_only=True):
    """Lines for a shell."""

    commands: list[str]
    """The lines, which the caller runs."""
    timeout_ms: int | None = None
    """The milliseconds after which the lines are stopped."""
    max_output_length: int | None = None
    """The most characters of output that the model is to be told."""


class ShellCallItem(Item, frozen=True, kw_only=True, tag="shell_call"):
    """Lines for a shell that the model wanted to be run, from an earlier answer."""

    call_id: CallId
    """The id of the call, which its output repeats."""
    action: ShellAction
    """The lines for the shell."""
    environment: Any = None
    """The place where the lines run; accepted and ignored."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(environment=self.environment, caller=self.caller)


class ShellOutcome(Strict, frozen=True):
    """The end of a line: `exit` with a code, or `timeout`."""

    type: str
    """`exit` or `timeout`."""
    exit_code: int | None = None
    """The exit status of the line; only with `exit`."""


class ShellOutput(Strict, frozen=True, kw_only=True):
    """The output of one line."""

    stdout: str
    """The text that the line printed to its standard output."""
    stderr: str
    """The text that the line printed to its standard error."""
    outcome: ShellOutcome | None = None
    """The end of the line."""


class ShellOutputItem(Item, frozen=True, kw_only=True, tag="shell_call_output"):
    """The output of lines for a shell."""

    call_id: CallId
    """The `call_id` of the call that has this output."""
    output: list[ShellOutput]
    """The output of each line, in the order of the lines."""
    max_output_length: int | None = None
    """The most characters of output; accepted and ignored, because the caller has cut the output already."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)


class PatchOperation(Strict, frozen=True, kw_only=True):
    """A change to one file."""

    type: Literal["create_file", "update_file", "delete_file"]
    """The kind of change: the file is created, updated or deleted."""
    path: str
    """The path of the file."""
    diff: str | None = None
    """The change to the file, or the content of a new file; left out if the file is deleted."""


class PatchCallItem(Item, frozen=True, kw_only=True, tag="apply_patch_call"):
    """A change to a file that the model wanted, from an earlier answer."""

    call_id: CallId
    """The id of the call, which its output repeats."""
    operation: PatchOperation
    """The change to the file."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)


class PatchOutputItem(Item, frozen=True, kw_only=True, tag="apply_patch_call_output"):
    """The result of a change to a file."""

    call_id: CallId
    """The `call_id` of the call that has this result."""
    output: str | None = None
    """The text with which the caller reports the result. The model is told it together with `status`."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)
