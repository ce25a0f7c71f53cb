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
    """The item's id."""
    status: CallStatus
    """How far the item has come."""
    call_id: str
    """The id of the call; its output repeats it."""


class OutputFunctionCall(_Call, frozen=True, kw_only=True, tag="function_call"):
    """A call of a function."""

    name: str
    """The function's name, as it was offered."""
    arguments: str
    """The arguments, as the JSON text that the model wrote; it may be invalid."""
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    """The namespace in which the function was offered; left out where there is none."""


class OutputCustomCall(_Call, frozen=True, kw_only=True, tag="custom_tool_call"):
    """A call of a custom tool, whose input is free text."""

    name: str
    """The tool's name, as it was offered."""
    input: str
    """The text that the model wrote for the tool."""
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    """The namespace in which the tool was offered; left out where there is none."""


class OutputLocalShell(_Call, frozen=True, kw_only=True, tag="local_shell_call"):
    """A command that the model wants to be run."""

    action: LocalShellAction
    """The command, which the caller runs."""


class OutputShell(_Call, frozen=True, kw_only=True, tag="shell_call"):
    """Lines for a shell that the model wants to be run."""

    action: ShellAction
    """The lines, which the caller runs."""


class OutputPatch(_Call, frozen=True, kw_only=True, tag="apply_patch_call"):
    """A change to a file that the model wants."""

    operation: PatchOperation
    """The change, which the caller makes."""


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
    """The only argument; everything that the model wrote if that is not such an object."""
    try:
        text = _arguments.decode(arguments).get(INPUT)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return text if isinstance(text, str) else arguments
