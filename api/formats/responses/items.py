"""The items of the Responses API, strictly typed: what clients send, and send back of earlier answers.

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
    """A message; an item without a `type` is one."""

    role: Literal["user", "assistant", "system", "developer"]
    """Who says it."""
    content: Content
    """A text, or a list of text and image parts."""
    phase: str | None = None
    """Accepted and ignored."""


class FunctionCallItem(Item, frozen=True, kw_only=True, tag="function_call"):
    """A call of a function, as an earlier answer had it."""

    call_id: CallId
    """The id of the call, which its output repeats: up to 16,384 visible ASCII characters."""
    name: ToolName
    """The function's name, as it was offered."""
    arguments: str
    """The arguments, as the JSON text that the model wrote."""
    namespace: str | None = None
    """The namespace in which the function was offered, where it was."""
    caller: Any = None
    """Accepted and ignored."""
    parsed_arguments: Any = None
    """Accepted and ignored: the official client adds it to answers that it has parsed."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller, parsed_arguments=self.parsed_arguments)


class FunctionOutputItem(Item, frozen=True, kw_only=True, tag="function_call_output"):
    """The result of a call of a function."""

    call_id: CallId
    """The `call_id` of the call that this answers."""
    output: Content
    """The result, as a text or as text and image parts."""
    name: str | None = None
    """Accepted and ignored."""
    namespace: str | None = None
    """Accepted and ignored."""
    caller: Any = None
    """Accepted and ignored."""

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
    """The namespace in which the tool was offered, where it was."""
    caller: Any = None
    """Accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)


class CustomOutputItem(Item, frozen=True, kw_only=True, tag="custom_tool_call_output"):
    """The result of a call of a custom tool."""

    call_id: CallId
    """The `call_id` of the call that this answers."""
    output: Content
    """The result, as a text or as text and image parts."""
    name: str | None = None
    """Accepted and ignored."""
    caller: Any = None
    """Accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(caller=self.caller)


class ReasoningItem(Item, frozen=True, kw_only=True, tag="reasoning"):
    """A thought of an earlier answer. A thought of another model is left out and named."""

    summary: Any = None
    """The summary of the thought, as it came."""
    content: Any = None
    """The text of the thought, as it came."""
    encrypted_content: Any = None
    """What the vendor needs to recognise the thought, as it came."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(summary=self.summary, content=self.content, encrypted_content=self.encrypted_content)


class ItemReference(Strict, frozen=True, kw_only=True, tag="item_reference", tag_field="type"):
    """An item of an earlier response that is stored here, by its id."""

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
