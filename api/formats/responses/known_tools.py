"""Makes functions, which any model can call, of the tools that OpenAI's models know without a schema."""

from __future__ import annotations

from typing import Any

from shared.chat import Tool

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}


def _schema(required: list[str], **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - schemas
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


KNOWN_TOOLS: dict[str, Tool] = {
    "local_shell": Tool(
        name="local_shell",
        description="Runs a command on the user's machine and gives its output.",
        parameters=_schema(
            ["command"],
            command={"type": "array", "items": _TEXT, "description": "The program and its arguments."},
            working_directory=_TEXT,
            timeout_ms=_WHOLE,
        ),
    ),
    "shell": Tool(
        name="shell",
        description="Runs lines in a shell and gives the output of each.",
        parameters=_schema(
            ["commands"],
            commands={"type": "array", "items": _TEXT, "description": "Lines, run one after the other."},
            timeout_ms=_WHOLE,
            max_output_length={**_WHOLE, "description": "Characters of output that are wanted at most."},
        ),
    ),
    "apply_patch": Tool(
        name="apply_patch",
        description="Creates, changes or deletes one file.",
        parameters=_schema(
            ["type", "path"],
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path={**_TEXT, "description": "Of the file, from the root of the workspace."},
            diff={
                **_TEXT,
                "description": "A diff in the V4A form: lines that begin with a blank, `-` or `+` behind a line `@@`. "
                "For a file that is created, all lines begin with `+`. Left out for one that is deleted.",
            },
        ),
    ),
}
