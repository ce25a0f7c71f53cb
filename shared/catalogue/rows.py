"""The rows of models, as written in the files of `companies/` and in an operator's overlay file."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from shared.catalogue.prices import Prices, Tokens, WrittenPrices, prices_of
from shared.catalogue.row_errors import row_error
from shared.catalogue.written import Written, check_address
from shared.chat import ReasoningEffort
from shared.patterns import told_as
from shared.vendors import ADDRESSABLE, FLEX_PROVIDERS, VENDORS, ProviderName

THINKING: dict[str, tuple[str, ...]] = {
    "openai-chat": ("none",),
    "openai-responses": ("none",),
    "deepseek-chat": ("disabled",),
    "bedrock-converse": ("none", "disabled", "between_tools", "off"),
    "gemini": ("minimal", "low", "off"),
}
"""The values that a row's `thinking` may have, by API: the effort `none`, a switch, the least level, or `off` for
nothing.
"""
FLEX_APIS = ("openai-chat", "gemini")
"""APIs with the service tier `flex`. Converse has it too, as a field that the locked SDK does not know."""
EFFORT_APIS = ("openai-chat", "openai-responses", "deepseek-chat", "bedrock-converse", "gemini")
"""APIs that take a reasoning effort."""
MARKED_APIS = ("openai-chat", "openai-responses", "bedrock-converse")
"""APIs that take cache marks."""
Lifecycle = Literal["active", "legacy", "retired"]
ToolsLack = Literal["streaming", "required", "named", "reasoning"]
Thinking = Literal["none", "disabled", "between_tools", "off", "minimal", "low", "medium"]
CachePlace = Literal["tools", "system", "messages", "calls"]
ImageTokens = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Alias = Annotated[
    str,
    msgspec.Meta(
        pattern=told_as(
            "up to 200 letters, digits and any of . : / _ @ - of which the first is a letter or a digit",
            r"^[A-Za-z0-9][A-Za-z0-9.:/_@-]{0,199}\Z",
        )
    ),
]
KEY_VARIABLE = told_as("the name of a variable: capital letters, digits and `_`", r"^[A-Z][A-Z0-9_]{2,99}\Z")
NAME = told_as(
    "up to 100 small letters, digits, `.` and `-` of which the first is a letter or a digit",
    r"^[a-z0-9][a-z0-9.\-]{0,99}\Z",
)


class Row(WrittenPrices, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the file; `FIELDS.md` explains its fields."""

    name: Annotated[str, msgspec.Meta(pattern=NAME)]
    aliases: tuple[Alias, ...] = ()
    company: str
    provider: ProviderName
    api: str
    second_api: str | None = None
    vendor_model: str = msgspec.field(name="upstream")
    context_window: Tokens
    max_output_tokens: Tokens
    streaming: bool = True
    system_prompt: Literal["native", "developer", "fold"] = "native"
    limit_parameter: str
    sampling: bool = True
    stop: bool = True
    tools: bool = False
    tools_lack: tuple[ToolsLack, ...] = ()
    no_tools_because: str | None = None
    json_mode: bool = False
    image_tokens: ImageTokens | None = None
    reasoning: bool = False
    reasoning_efforts: tuple[ReasoningEffort, ...] = ()
    thinking: Thinking | None = None
    unstreamed_tokens: Tokens | None = None
    bills_to_the_end: bool = False
    cache_minimum: Tokens | None = None
    cache_marks: tuple[CachePlace, ...] = ()
    writes_unasked: bool = True
    prefill: bool = False
    region: str | None = None
    base_url: str | None = None
    key_variable: Annotated[str, msgspec.Meta(pattern=KEY_VARIABLE)] | None = None
    successor: str | None = None
    replaced_by: str | None = None
    lifecycle: Lifecycle
    ends_on: dt.date | None = None
    sources: str


def parse_row(written: Written) -> tuple[Row, Prices]:
    """The row and the vendor's prices. Raises `SettingsError` with line and reason."""
    try:
        row = msgspec.convert(written.fields, Row)
        _check_address(row)
        _check_limits(row)
        _check_thinking(row)
        _check_flex(row)
        _check_cache(row)
        return row, prices_of(row)
    except msgspec.ValidationError as error:
        raise written.error(row_error(error, Row)) from None
    except ValueError as error:
        raise written.error(str(error)) from None


def _check_limits(row: Row) -> None:
    check_api("api", row.api, row.provider)
    check_api("second_api", row.second_api, row.provider)
    if row.second_api and not row.tools:
        raise ValueError("`second_api` goes with a model with `tools` only")
    if row.max_output_tokens > row.context_window:
        raise ValueError("`max_output_tokens` is more than the context window")


def check_api(field: str, api: str | None, provider: ProviderName) -> None:
    """Raises `ValueError` if the row's `field` names an API that its provider does not have."""
    known = VENDORS[provider].apis
    if api is not None and api not in known:
        raise ValueError(f"`{field}` {api!r} is none of provider {provider}: it has {', '.join(sorted(known))}")


def _check_thinking(row: Row) -> None:
    if row.reasoning_efforts and not (row.reasoning and row.api in EFFORT_APIS):
        apis = " or ".join(repr(api) for api in EFFORT_APIS)
        raise ValueError(f"`reasoning_efforts` go with a model of api {apis} that has `reasoning`")
    known = THINKING.get(row.api, ())
    if row.thinking is not None and row.thinking not in known:
        raise ValueError(
            f"`thinking` is {row.thinking!r}: with api {row.api!r} it takes {' or '.join(known) or 'nothing'}"
        )
    if "reasoning" in row.tools_lack and row.thinking != "none":
        raise ValueError("`tools_lack` has 'reasoning', which goes with `thinking` of 'none' only")
    if row.no_tools_because and row.tools:
        raise ValueError("`no_tools_because` goes with a model without `tools` only")


def _check_flex(row: Row) -> None:
    if row.flex is None:
        return
    if row.api not in FLEX_APIS or row.provider not in FLEX_PROVIDERS:
        apis, providers = (" or ".join(names) for names in (FLEX_APIS, FLEX_PROVIDERS))
        raise ValueError(f"`flex` goes with a model of api {apis} and provider {providers}")
    if row.long_context and not row.flex.long_context:
        raise ValueError("`flex` lacks 'long_context', which the row has: long requests have a price of their own")


def _check_cache(row: Row) -> None:
    if row.cache_marks and (row.cache_minimum is None or row.api not in MARKED_APIS):
        apis = " or ".join(repr(api) for api in MARKED_APIS)
        raise ValueError(f"`cache_marks` go with a model of api {apis} that has a `cache_minimum`")


def _check_address(row: Row) -> None:
    check_address(row.base_url)
    if row.base_url and not row.key_variable:
        raise ValueError("a base_url needs a key_variable, so that no vendor's key is sent to another vendor")
    if row.key_variable and row.provider not in ADDRESSABLE:
        raise ValueError(f"base_url and key_variable go with provider {' or '.join(ADDRESSABLE)} only")
