"""The catalogue as it is written: the files of `companies/`, and an operator's overlay file with the same form.

What is wrong in a file is named with its line, so that an operator need not search.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from shared.catalogue.prices import Prices, Tokens, WrittenPrices, prices_of
from shared.chat import ReasoningEffort
from shared.lanes import FLEX_PROVIDERS
from shared.settings import SettingsError
from shared.utf8 import NotUtf8, utf8

APIS = {
    "openai-chat": ("openai", "deepseek"),
    "openai-responses": ("openai",),
    "openai-realtime": ("openai",),
    "deepseek-chat": ("deepseek",),
    "bedrock-converse": ("bedrock",),
    "bedrock-invoke": ("bedrock",),
    "gemini": ("gemini",),
}
"""The wire protocols, each with the providers whose keys and queues it may go with."""
ADDRESSABLE = ("openai", "deepseek")
"""The providers that speak OpenAI's protocol: their rows may name another address."""
THINKING: dict[str, tuple[str, ...]] = {
    "openai-chat": ("none",),
    "openai-responses": ("none",),
    "deepseek-chat": ("disabled",),
    "bedrock-converse": ("none", "disabled", "between_tools", "off"),
    "gemini": ("minimal", "low", "off"),
}
"""What each API can be told of thinking by `thinking`: no effort, to switch it off, the least level, or nothing (`off`)."""
FLEX_APIS = ("openai-chat", "gemini")
"""Where the service tier `flex` can be asked for. Converse has it, too, as a field that the locked SDK does not know."""
EFFORT_APIS = ("openai-chat", "openai-responses", "deepseek-chat", "bedrock-converse", "gemini")
"""Where efforts can be told."""
MARKED_APIS = ("openai-chat", "bedrock-converse")
"""Where a vendor can be told what its cache is to keep."""
Lifecycle = Literal["active", "legacy", "retired"]
ToolsLack = Literal["streaming", "required", "named", "reasoning"]
Thinking = Literal["none", "disabled", "between_tools", "off", "minimal", "low"]
CachePlace = Literal["tools", "system", "messages", "calls"]
ImageTokens = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Alias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:/_@-]{0,199}\Z")]


class Row(WrittenPrices, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row as written; `FIELDS.md` explains the fields."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.\-]{0,99}$")]
    aliases: tuple[Alias, ...] = ()
    company: str
    provider: Literal["openai", "bedrock", "deepseek", "gemini"]
    api: str
    second_api: str | None = None
    upstream: str
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
    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://")] | None = None
    key_variable: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{2,99}$")] | None = None
    successor: str | None = None
    replaced_by: str | None = None
    lifecycle: Lifecycle
    ends_on: dt.date | None = None
    sources: str


class Written(NamedTuple):
    """One `[[model]]` table of a file; `line` is where it begins, `text` the file's lines."""

    fields: dict[str, Any]
    path: Path
    line: int
    text: list[str]

    def over(self, below: Written | None) -> Written:
        """The same table with what it leaves out taken from `below`."""
        return self._replace(fields=below.fields | self.fields) if below else self

    def error(self, reason: str) -> SettingsError:
        """`reason` with the file and the line that it is about."""
        return SettingsError(f"{self.path}:{self._line_of(reason)}: model {self.fields.get('name')!r}: {reason}")

    def _line_of(self, reason: str) -> int:
        """Where the field stands that the reason names, else where the table begins."""
        named = "|".join(re.findall(r"`(?:\$\.)?([a-z_]+)", reason)) or "name"
        for number, line in enumerate(self.text[self.line :], start=self.line + 1):
            if line.lstrip().startswith("[["):
                break
            if re.match(rf"\s*({named})\s*=", line):
                return number
        return self.line


def read_tables(path: Path) -> dict[str, Written]:
    """The `[[model]]` tables of a file by their names. Raises `SettingsError`."""
    try:
        text = utf8(path.read_bytes()).decode()
        document = tomllib.loads(text, parse_float=Decimal)
    except NotUtf8 as error:
        raise SettingsError(f"{path} is {error}: save it as UTF-8") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    tables = document.get("model", [])
    if (
        set(document) - {"model"}
        or not isinstance(tables, list)
        or not all(isinstance(table, dict) for table in tables)
    ):
        raise SettingsError(f"{path}: it takes [[model]] tables and nothing else")
    lines = text.split("\n")
    headers = [number for number, line in enumerate(lines, start=1) if re.match(r"\s*\[\[\s*model\s*\]\]", line)]
    if len(headers) != len(tables):
        raise SettingsError(f"{path}: write every model as a table of its own that begins with a line [[model]]")
    found: dict[str, Written] = {}
    for fields, line in zip(tables, headers, strict=True):
        written = Written(fields, path, line, lines)
        if not isinstance(fields.get("name"), str):
            raise written.error("it has no name")
        if fields["name"] in found:
            raise written.error("the file has it twice")
        found[fields["name"]] = written
    return found


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
    except (msgspec.ValidationError, ValueError) as error:
        raise written.error(str(error)) from None


def _check_limits(row: Row) -> None:
    for field, api in (("api", row.api), ("second_api", row.second_api)):
        if api is not None and row.provider not in APIS.get(api, ()):
            known = ", ".join(sorted(api for api, providers in APIS.items() if row.provider in providers))
            raise ValueError(f"`{field}` {api!r} is none of provider {row.provider}: it has {known}")
    if row.second_api and not row.tools:
        raise ValueError("`second_api` goes with a model with `tools` only")
    if row.max_output_tokens > row.context_window:
        raise ValueError("`max_output_tokens` is more than the context window")


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
    if row.base_url and not row.key_variable:
        raise ValueError("a base_url needs a key_variable, so that no vendor's key is sent to another vendor")
    if row.key_variable and row.provider not in ADDRESSABLE:
        raise ValueError(f"base_url and key_variable go with provider {' or '.join(ADDRESSABLE)} only")
