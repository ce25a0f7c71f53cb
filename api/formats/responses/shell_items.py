"""Calls of the tools that OpenAI's models know without a schema, and what came of them, as items of the Responses API."""

from __future__ import annotations

from typing import Any, Literal

from api.formats.openai.messages import CallId
from api.formats.responses.parts import Item, Strict
from shared.json_bounds import refuse_depth


class LocalShellAction(Strict, frozen=True, kw_only=True):
    """A command with its arguments."""

    type: Literal["exec"]
    command: list[str]
    env: dict[str, str] | None = None
    timeout_ms: int | None = None
    user: str | None = None
    working_directory: str | None = None


class LocalShellCallItem(Item, frozen=True, kw_only=True, tag="local_shell_call"):
    """A command that the model wants to be run."""

    call_id: CallId
    action: LocalShellAction


class LocalShellOutputItem(Item, frozen=True, kw_only=True, tag="local_shell_call_output"):
    """What came of it. OpenAI has the call's id in `id`, clients also in `call_id`."""

    output: str
    call_id: CallId | None = None


class ShellAction(Strict, frozen=True, kw_only=True):
    """Lines for a shell."""

    commands: list[str]
    timeout_ms: int | None = None
    max_output_length: int | None = None


class ShellCallItem(Item, frozen=True, kw_only=True, tag="shell_call"):
    """Lines that the model wants to be run."""

    call_id: CallId
    action: ShellAction
    environment: Any = None
    caller: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(environment=self.environment, caller=self.caller)


class ShellOutcome(Strict, frozen=True):
    """How a line ended: `exit` with a code, or `timeout`."""

    type: str
    exit_code: int | None = None


class ShellOutput(Strict, frozen=True, kw_only=True):
    """What one line said."""

    stdout: str
    stderr: str
    outcome: ShellOutcome | None = None


class ShellOutputItem(Item, frozen=True, kw_only=True, tag="shell_call_output"):
    """What came of them."""

    call_id: CallId
    output: list[ShellOutput]
    max_output_length: int | None = None
    caller: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(caller=self.caller)


class PatchOperation(Strict, frozen=True, kw_only=True):
    """One file, and how it changes."""

    type: Literal["create_file", "update_file", "delete_file"]
    path: str
    diff: str | None = None


class PatchCallItem(Item, frozen=True, kw_only=True, tag="apply_patch_call"):
    """A change that the model wants to be made."""

    call_id: CallId
    operation: PatchOperation
    caller: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(caller=self.caller)


class PatchOutputItem(Item, frozen=True, kw_only=True, tag="apply_patch_call_output"):
    """Whether it was made."""

    call_id: CallId
    output: str | None = None
    caller: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(caller=self.caller)
