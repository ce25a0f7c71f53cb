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
    """What somebody said. An item without a `type` is one of these."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    phase: str | None = None


class FunctionCallItem(Item, frozen=True, kw_only=True, tag="function_call"):
    """A call of a function as an earlier answer had it; `namespace` where the function was offered in one."""

    call_id: CallId
    name: ToolName
    arguments: str
    namespace: str | None = None
    caller: Any = None
    parsed_arguments: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(caller=self.caller, parsed_arguments=self.parsed_arguments)


class FunctionOutputItem(Item, frozen=True, kw_only=True, tag="function_call_output"):
    """The result of a call."""

    call_id: CallId
    output: Content
    name: str | None = None
    namespace: str | None = None
    caller: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(caller=self.caller)


class CustomCallItem(Item, frozen=True, kw_only=True, tag="custom_tool_call"):
    """A call of a custom tool: free text."""

    call_id: CallId
    name: ToolName
    input: str
    namespace: str | None = None
    caller: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(caller=self.caller)


class CustomOutputItem(Item, frozen=True, kw_only=True, tag="custom_tool_call_output"):
    """Its result."""

    call_id: CallId
    output: Content
    name: str | None = None
    caller: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(caller=self.caller)


class ReasoningItem(Item, frozen=True, kw_only=True, tag="reasoning"):
    """What a model thought before it said what follows. One that the model asked now has not made is left out and named."""

    summary: Any = None
    content: Any = None
    encrypted_content: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(summary=self.summary, content=self.content, encrypted_content=self.encrypted_content)


class ItemReference(Strict, frozen=True, kw_only=True, tag="item_reference", tag_field="type"):
    """An item of an earlier response that is stored here, by its id."""

    id: str


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
