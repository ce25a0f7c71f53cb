"""Items of the Responses API that are left of another service's answers and say nothing to a model here."""

from __future__ import annotations

from api.formats.responses.parts import Item


class _Trace(Item, frozen=True, kw_only=True):
    """What is left of another service's answer and says nothing to a model here: it is left out and named."""


class WebSearchItem(_Trace, frozen=True, kw_only=True, tag="web_search_call"):
    """A search of the vendor's."""


class FileSearchItem(_Trace, frozen=True, kw_only=True, tag="file_search_call"):
    """A search of the vendor's in files."""


class InterpreterItem(_Trace, frozen=True, kw_only=True, tag="code_interpreter_call"):
    """Code that the vendor ran."""


class ImageGenerationItem(_Trace, frozen=True, kw_only=True, tag="image_generation_call"):
    """An image that the vendor made."""


class ToolSearchItem(_Trace, frozen=True, kw_only=True, tag="tool_search_call"):
    """A search for tools."""


class ToolSearchOutputItem(_Trace, frozen=True, kw_only=True, tag="tool_search_output"):
    """The tools that it found."""


class McpListItem(_Trace, frozen=True, kw_only=True, tag="mcp_list_tools"):
    """Tools of a server that the vendor called."""


class McpCallItem(_Trace, frozen=True, kw_only=True, tag="mcp_call"):
    """A call that the vendor made."""


class CompactionItem(_Trace, frozen=True, kw_only=True, tag="compaction"):
    """A summary that the vendor made of what was said before, encrypted."""


class CompactionTriggerItem(_Trace, frozen=True, kw_only=True, tag="compaction_trigger"):
    """A wish for such a summary."""


class McpApprovalRequestItem(_Trace, frozen=True, kw_only=True, tag="mcp_approval_request"):
    """A question whether the vendor may make a call."""


class McpApprovalItem(_Trace, frozen=True, kw_only=True, tag="mcp_approval_response"):
    """The answer to it."""


class AdditionalToolsItem(_Trace, frozen=True, kw_only=True, tag="additional_tools"):
    """Tools that a vendor's search added."""


class ConfigurationItem(_Trace, frozen=True, kw_only=True, tag="configuration_update"):
    """A change of how the vendor runs the conversation."""


class ProgramItem(_Trace, frozen=True, kw_only=True, tag="program"):
    """A program that the vendor ran."""


class ProgramOutputItem(_Trace, frozen=True, kw_only=True, tag="program_output"):
    """What came of it."""


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
