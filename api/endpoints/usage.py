"""`GET /api/usage`: the account's usage by day, model and key, from sums that are updated with every settlement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args

import asyncpg
import msgspec
from aiohttp import web

from api.formats.native.answers import result_json
from api.formats.parsing import parse_query
from api.http.lists import ROWS_AT_ONCE, LongList, batched
from api.http.writing import answer
from api.services import SERVICES, Services
from shared import clock
from shared.errors import InvalidRequest
from shared.money import NanoUsd, nano_to_usd
from shared.patterns import told_as
from shared.stores.postgres import load_queries, reached

SQL = load_queries("usage")
Group = Literal["day", "model", "key"]
GROUPS: tuple[Group, ...] = get_args(Group)
FIELDS: dict[Group, str] = {"day": "day", "model": "model", "key": "key_id"}
DAYS_DEFAULT = 30
Day = Annotated[
    str,
    msgspec.Meta(
        pattern=told_as("a date such as 2027-01-31", r"^\d{4}-\d{2}-\d{2}$(?!\n)"),
        description="A day in UTC, such as 2027-01-31; it is included.",
    ),
]


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """The number of ended requests, with their tokens and charges."""

    requests: int
    """The number of requests that ended."""
    failed: int
    """The number of requests that ended without success."""
    tokens_input: int
    """Billed input tokens, cached and written ones among them."""
    tokens_output: int
    """Billed output tokens, reasoning ones among them."""
    tokens_cached: int
    """The part of `tokens_input` that was read from a vendor's cache."""
    tokens_cache_written: int
    """The part of `tokens_input` that was written to a vendor's cache."""
    tokens_reasoning: int
    """The part of `tokens_output` that was reasoning."""
    charged_usd: str
    """The USD charged for these requests, as an exact decimal string."""


class UsageGroup(UsageSums, frozen=True, kw_only=True):
    """The sums of one group of requests, with the fields that the rows are grouped by."""

    day: date | msgspec.UnsetType = msgspec.UNSET
    """The day (UTC) on which the requests were admitted."""
    model: str | msgspec.UnsetType = msgspec.UNSET
    """The public name of the model."""
    key_id: str | msgspec.UnsetType = msgspec.UNSET
    """The id of the API key that the requests came with."""
    key_name: str | msgspec.UnsetType | None = msgspec.UNSET
    """The name of the API key; null if the key has none."""


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of a period. `rows` are sorted by the fields of `group_by`, in their order."""

    first: date = msgspec.field(name="from")
    """The first day of the period, in UTC; it is included."""
    last: date = msgspec.field(name="to")
    """The last day of the period, in UTC; it is included."""
    group_by: tuple[Group, ...]
    """The fields that the rows are grouped by."""
    rows: list[UsageGroup]
    """The sums of each group."""
    total: UsageSums
    """The sums of all rows."""


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The days in UTC, both included, and the fields that the rows are grouped by."""

    first: Day | msgspec.UnsetType = msgspec.field(name="from", default=msgspec.UNSET)
    last: Day | msgspec.UnsetType = msgspec.field(name="to", default=msgspec.UNSET)
    group_by: Annotated[
        str,
        msgspec.Meta(description="The fields by which the rows are grouped: a comma list of `day`, `model`, `key`."),
    ] = "day"


class UsagePeriod(msgspec.Struct, frozen=True):
    """A period of days in UTC, both included."""

    first: date
    last: date
    group_by: tuple[Group, ...]

    @property
    def may_be_long(self) -> bool:
        """True if there may be many rows: there are few days and models, but there may be many keys, or pairs of two
        groups.
        """
        return self.group_by not in {("day",), ("model",)}


async def get_usage(request: web.Request) -> web.StreamResponse:
    """The account's usage. By default it covers the last 30 days, by day."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query = parse_query(request.query, UsageQuery)
    async with services.lists.one(key.account_id) as listing:
        body = result_json(await usage_of(services, key.account_id, query, listing))
    return await answer(request, body, key.account_id)


async def usage_of(services: Services, account_id: str, query: UsageQuery, listing: LongList) -> UsageAnswer:
    """The account's usage. Raises `InvalidRequest`, `Overloaded` or `Unavailable`."""
    settings = services.settings
    asked = _asked(query, clock.utc_now().date(), settings.usage_days_max)
    if asked.may_be_long:
        await listing.step()
    rows_max = settings.usage_rows_max
    rows = await read_usage(services.pool, account_id, asked.first, asked.last, asked.group_by, rows_max=rows_max)
    return await _answer(asked, rows, listing)


def _asked(query: UsageQuery, today: date, days_max: int) -> UsagePeriod:
    last = _date("to", query.last) if query.last else today
    first = _date("from", query.first) if query.first else _days_before(last, DAYS_DEFAULT - 1)
    if first > last:
        raise InvalidRequest(f"`from` ({first}) is later than `to` ({last}).")
    if (last - first).days >= days_max:
        raise InvalidRequest(f"`from` {first} `to` {last} is more than {days_max} days: ask for a shorter time.")
    return UsagePeriod(first, last, _groups(query.group_by))


def _date(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"`{name}` is not a date such as 2027-01-31.") from None


def _days_before(day: date, days: int) -> date:
    return date.fromordinal(max(date.min.toordinal(), day.toordinal() - days))


def _groups(text: str) -> tuple[Group, ...]:
    words = text.split(",")
    for word in words:
        if word not in GROUPS:
            raise InvalidRequest(f"`group_by` is a comma list of {', '.join(GROUPS)}, not `{word[:50]}`.")
        if words.count(word) > 1:
            raise InvalidRequest(f"`group_by` has `{word}` more than once.")
    return tuple(words)  # type: ignore[arg-type] # checked word by word


async def _answer(asked: UsagePeriod, rows: list[UsageRow], listing: LongList) -> UsageAnswer:
    rows.sort(key=attrgetter(*(FIELDS[group] for group in asked.group_by)))
    groups: list[UsageGroup] = []
    sums: list[UsageRow] = []
    for piece in batched(rows, ROWS_AT_ONCE):
        groups += [UsageGroup(**_shown(row), **_grouped(row, asked.group_by)) for row in piece]
        sums.append(_sum(piece))
        await listing.after(piece)
    return UsageAnswer(
        first=asked.first, last=asked.last, group_by=asked.group_by, rows=groups, total=UsageSums(**_shown(_sum(sums)))
    )


def _sum(rows: Sequence[UsageRow]) -> UsageRow:
    """One row with the sums of all rows."""
    counted: dict[str, Any] = {name: sum(map(attrgetter(name), rows)) for name in COUNTED}
    return UsageRow(day=None, model=None, key_id=None, key_name=None, **counted)


def _shown(row: UsageRow) -> dict[str, Any]:
    counted = {name: getattr(row, name) for name in UsageSums.__struct_fields__[:-1]}
    return counted | {"charged_usd": nano_to_usd(row.charged_nano)}


def _grouped(row: UsageRow, group_by: tuple[Group, ...]) -> dict[str, Any]:
    fields = {FIELDS[group]: getattr(row, FIELDS[group]) for group in group_by}
    return fields | {"key_name": row.key_name} if "key" in group_by else fields


COUNTED = (*UsageSums.__struct_fields__[:-1], "charged_nano")


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """The ended requests of one group. `day` is the day (UTC) of the requests' admission; fields that are not grouped by
    are None. `failed` counts the `requests` that did not succeed. Cached and written tokens are part of the input,
    reasoning tokens of the output.
    """

    day: date | None
    model: str | None
    key_id: str | None
    key_name: str | None
    requests: int
    failed: int
    tokens_input: int
    tokens_output: int
    tokens_cached: int
    tokens_cache_written: int
    tokens_reasoning: int
    charged_nano: NanoUsd


async def read_usage(
    pool: asyncpg.Pool, account_id: str, first: date, last: date, group_by: Collection[Group], *, rows_max: int
) -> list[UsageRow]:
    """Usage from `first` to `last`, both included, in no order. Raises `InvalidRequest` if there are more than `rows_max`
    rows, or `Unavailable`.
    """
    grouped = ["day" in group_by, "model" in group_by, "key" in group_by]
    async with reached("The usage"):
        rows = await pool.fetch(SQL["rows"], account_id, first, last, *grouped, rows_max + 1)
    if len(rows) > rows_max:
        raise InvalidRequest(
            f"The answer would have more than {rows_max} rows: ask for fewer days, or group by less (`group_by`)."
        )
    return [UsageRow(**row) for row in rows]
