"""Tool calls as items of a response, each in the form in which its tool was offered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from api.formats.responses.ids import item_id
from api.formats.responses.offer import INPUT, Kind
from api.formats.responses.shell_items import LocalShellAction, PatchOperation, ShellAction
from shared.chat import ToolCall

CallStatus = Literal["in_progress", "completed", "incomplete"]


class _Call(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    id: str
    """The id of the item."""
    status: CallStatus
    """The state of the item: `in_progress`, `completed` or `incomplete`."""
    call_id: str
    """The id of the call, which its output repeats."""


class OutputFunctionCall(_Call, frozen=True, kw_only=True, tag="function_call"):
    """A call of a function."""

    name: str
    """The function's name, as it was offered."""
    arguments: str
    """The arguments, as the JSON text that the model wrote; it may be invalid."""
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    """The namespace in which the function was offered; left out if it was offered without one."""


class OutputCustomCall(_Call, frozen=True, kw_only=True, tag="custom_tool_call"):
    """A call of a custom tool, whose input is free text."""

    name: str
    """The tool's name, as it was offered."""
    input: str
    """The text that the model wrote for the tool."""
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    """The namespace in which the tool was offered; left out if it was offered without one."""


class OutputLocalShell(_Call, frozen=True, kw_only=True, tag="local_shell_call"):
    """A command that the model wants the caller to run."""

    action: LocalShellAction
    """The command and its arguments."""


class OutputShell(_Call, frozen=True, kw_only=True, tag="shell_call"):
    """Lines for a shell that the model wants the caller to run."""

    action: ShellAction
    """The lines for the shell."""


class OutputPatch(_Call, frozen=True, kw_only=True, tag="apply_patch_call"):
    """A change to a file that the model wants the caller to make."""

    operation: PatchOperation
    """The change to the file."""


OutputCall = OutputFunctionCall | OutputCustomCall | OutputLocalShell | OutputShell | OutputPatch
PREFIXES = {"function": "fc", "custom": "ctc", "local_shell": "lsh", "shell": "sh", "apply_patch": "apc"}
_arguments = msgspec.json.Decoder(dict[str, Any])
_shell = msgspec.json.Decoder(ShellAction)
_patch = msgspec.json.Decoder(PatchOperation)


def call_item(call: ToolCall, place: int, request_id: str, kinds: Mapping[str, Kind], status: CallStatus) -> OutputCall:
    """The item of the call at `place` of the output. If the arguments do not fit its tool, it is sent as a function call,
    so that the client can tell the model.
    """
    kind = kinds.get(call.name) or Kind("function", call.name)
    known: dict[str, Any] = {
        "id": item_id(PREFIXES[kind.type], request_id, place),
        "status": status,
        "call_id": call.id,
    }
    named: dict[str, Any] = {"name": kind.name, "namespace": kind.namespace or msgspec.UNSET}
    try:
        match kind.type:
            case "custom":
                return OutputCustomCall(**known, **named, input=_text_of(call.arguments))
            case "local_shell":
                said = {"env": {}, **_arguments.decode(call.arguments), "type": "exec"}
                action = msgspec.convert(said, LocalShellAction)
                return OutputLocalShell(**known, action=action)
            case "shell":
                return OutputShell(**known, action=_shell.decode(call.arguments))
            case "apply_patch":
                return OutputPatch(**known, operation=_patch.decode(call.arguments))
            case "function":
                pass
    except (msgspec.DecodeError, RecursionError):
        pass
    return OutputFunctionCall(**known, **named, arguments=call.arguments)


def _text_of(arguments: str) -> str:
    """The call's only argument, or everything that the model wrote if it is not an object with one argument."""
    try:
        text = _arguments.decode(arguments).get(INPUT)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return text if isinstance(text, str) else arguments
