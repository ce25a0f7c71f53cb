"""Items of the Responses API that another service's answers have left in a conversation. No model here is told them."""

from __future__ import annotations

from api.formats.responses.parts import Item


class _Trace(Item, frozen=True, kw_only=True):
    """An item from another service's answer. It is left out and named in `x-ignored`."""


class WebSearchItem(_Trace, frozen=True, kw_only=True, tag="web_search_call"):
    """A web search that another vendor ran; left out and named in `x-ignored`."""


class FileSearchItem(_Trace, frozen=True, kw_only=True, tag="file_search_call"):
    """A search in files that another vendor ran; left out and named in `x-ignored`."""


class InterpreterItem(_Trace, frozen=True, kw_only=True, tag="code_interpreter_call"):
    """Code that another vendor ran; left out and named in `x-ignored`."""


class ImageGenerationItem(_Trace, frozen=True, kw_only=True, tag="image_generation_call"):
    """An image that another vendor made; left out and named in `x-ignored`."""


class ToolSearchItem(_Trace, frozen=True, kw_only=True, tag="tool_search_call"):
    """A search for tools; left out and named in `x-ignored`."""


class ToolSearchOutputItem(_Trace, frozen=True, kw_only=True, tag="tool_search_output"):
    """The tools that a search found; left out and named in `x-ignored`."""


class McpListItem(_Trace, frozen=True, kw_only=True, tag="mcp_list_tools"):
    """The tools of an MCP server that another vendor called; left out and named in `x-ignored`."""


class McpCallItem(_Trace, frozen=True, kw_only=True, tag="mcp_call"):
    """A call of an MCP server that another vendor made; left out and named in `x-ignored`."""


class CompactionItem(_Trace, frozen=True, kw_only=True, tag="compaction"):
    """An encrypted summary that another vendor made of what was said; left out and named in `x-ignored`."""


class CompactionTriggerItem(_Trace, frozen=True, kw_only=True, tag="compaction_trigger"):
    """A wish that the vendor summarises what was said; left out and named in `x-ignored`."""


class McpApprovalRequestItem(_Trace, frozen=True, kw_only=True, tag="mcp_approval_request"):
    """A question whether a vendor may call an MCP server; left out and named in `x-ignored`."""


class McpApprovalItem(_Trace, frozen=True, kw_only=True, tag="mcp_approval_response"):
    """The answer to an approval request; left out and named in `x-ignored`."""


class AdditionalToolsItem(_Trace, frozen=True, kw_only=True, tag="additional_tools"):
    """Tools that a vendor's search added; left out and named in `x-ignored`."""


class ConfigurationItem(_Trace, frozen=True, kw_only=True, tag="configuration_update"):
    """A change of how the vendor runs the conversation; left out and named in `x-ignored`."""


class ProgramItem(_Trace, frozen=True, kw_only=True, tag="program"):
    """A program that another vendor ran; left out and named in `x-ignored`."""


class ProgramOutputItem(_Trace, frozen=True, kw_only=True, tag="program_output"):
    """The output of a program that another vendor ran; left out and named in `x-ignored`."""


TRACES = (
    WebSearchItem,
    FileSearchItem,
    InterpreterItem,
    ImageGenerationItem,
    ToolSearchItem,
    ToolSearchOutputItem,
    McpListItem,
    McpCallItem,
    CompactionItem,
    CompactionTriggerItem,
    McpApprovalRequestItem,
    McpApprovalItem,
    AdditionalToolsItem,
    ConfigurationItem,
    ProgramItem,
    ProgramOutputItem,
)
