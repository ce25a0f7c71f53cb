"""The items of the Responses API, strictly typed: those that clients send, and those of earlier answers that they send
back.

Facts as of openai-python 3.54 (`types/responses`) and recorded clients, read 2026-11.
"""

from __future__ import annotations

from typing import Any, Literal

from api.formats.openai.messages import CallId, ToolName
from api.formats.responses.parts import Content, Item, Strict
from api.formats.responses.shell_items import (
    LocalShellCallItem,
    LocalShellOutputItem,
    PatchCallItem,
    PatchOutputItem,
    ShellCallItem,
    ShellOutputItem,
)
from api.formats.responses.traces import (
    AdditionalToolsItem,
    CompactionItem,
    CompactionTriggerItem,
    ConfigurationItem,
    FileSearchItem,
    ImageGenerationItem,
    InterpreterItem,
    McpApprovalItem,
    McpApprovalRequestItem,
    McpCallItem,
    McpListItem,
    ProgramItem,
    ProgramOutputItem,
    ToolSearchItem,
    ToolSearchOutputItem,
    WebSearchItem,
)
from shared.json_bounds import refuse_depth


class MessageItem(Item, frozen=True, kw_only=True, tag="message"):
    """A message. An item without a `type` is a message, too."""

    role: Literal["user", "assistant", "system", "developer"]
    """The author of the message: `user`, `assistant` (the model), or `system` and `developer` for instructions."""
    content: Content
    """The message as a text, or as a list of text and image parts."""
    phase: str | None = None
    """The phase that OpenAI's models set; accepted and ignored."""


class FunctionCallItem(Item, frozen=True, kw_only=True, tag="function_call"):
    """A call of a function, from an earlier answer."""

    call_id: CallId
    """The id of the call, which its output repeats: up to 16,384 visible ASCII characters."""
    name: ToolName
    """The function's name, as it was offered."""
    arguments: str
    """The arguments, as the JSON text that the model wrote."""
    namespace: str | None = None
    """The namespace in which the function was offered; left out if it was offered without one."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""
    parsed_arguments: Any = None
    """A parsed form that the official client adds to answers; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller, parsed_arguments=self.parsed_arguments)


class FunctionOutputItem(Item, frozen=True, kw_only=True, tag="function_call_output"):
    """The result of a call of a function."""

    call_id: CallId
    """The `call_id` of the call that has this result."""
    output: Content
    """The result, as a text or as text and image parts."""
    name: str | None = None
    """The name of the tool; accepted and ignored."""
    namespace: str | None = None
    """The namespace of the tool; accepted and ignored."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)


class CustomCallItem(Item, frozen=True, kw_only=True, tag="custom_tool_call"):
    """A call of a custom tool, whose input is free text."""

    call_id: CallId
    """The id of the call, which its output repeats: up to 16,384 visible ASCII characters."""
    name: ToolName
    """The tool's name, as it was offered."""
    input: str
    """The text that the model wrote for the tool."""
    namespace: str | None = None
    """The namespace in which the tool was offered; left out if it was offered without one."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)


class CustomOutputItem(Item, frozen=True, kw_only=True, tag="custom_tool_call_output"):
    """The result of a call of a custom tool."""

    call_id: CallId
    """The `call_id` of the call that has this result."""
    output: Content
    """The result, as a text or as text and image parts."""
    name: str | None = None
    """The name of the tool; accepted and ignored."""
    caller: Any = None
    """The caller of the tool; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)


class ReasoningItem(Item, frozen=True, kw_only=True, tag="reasoning"):
    """A thought of an earlier answer. A thought of another model is left out and named in `x-ignored`."""

    summary: Any = None
    """The summary of the thought, unchanged."""
    content: Any = None
    """The text of the thought, unchanged."""
    encrypted_content: Any = None
    """The signature by which the vendor recognises the thought, unchanged."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(summary=self.summary, content=self.content, encrypted_content=self.encrypted_content)


class ItemReference(Strict, frozen=True, kw_only=True, tag="item_reference", tag_field="type"):
    """A reference to an item of an earlier response that is stored here."""

    id: str
    """The id of the item."""


AnyItem = (
    MessageItem
    | FunctionCallItem
    | FunctionOutputItem
    | CustomCallItem
    | CustomOutputItem
    | LocalShellCallItem
    | LocalShellOutputItem
    | ShellCallItem
    | ShellOutputItem
    | PatchCallItem
    | PatchOutputItem
    | ItemReference
    | ReasoningItem
    | WebSearchItem
    | FileSearchItem
    | InterpreterItem
    | ImageGenerationItem
    | ToolSearchItem
    | ToolSearchOutputItem
    | McpListItem
    | McpCallItem
    | CompactionItem
    | CompactionTriggerItem
    | McpApprovalRequestItem
    | McpApprovalItem
    | AdditionalToolsItem
    | ConfigurationItem
    | ProgramItem
    | ProgramOutputItem
)
