"""`/console/usage`: usage by day, model or key, as charts, as a table, and as CSV."""

from __future__ import annotations

import csv
from datetime import timedelta
from decimal import Decimal
from io import StringIO

from aiohttp import web
from multidict import MultiDict

from api.console.charts import charts_of, label_of
from api.console.frame import render
from api.console.session import Session
from api.endpoints.usage import GROUPS, UsageAnswer, UsageQuery, UsageSums, usage_of
from api.formats.parsing import parse_query
from api.services import SERVICES
from shared import clock
from shared.errors import InvalidRequest

COLUMNS = UsageSums.__struct_fields__
SPANS = (7, 30, 90)
"""Days up to today that a link shows."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters that make a spreadsheet read a name as a formula."""


async def get_usage(request: web.Request, session: Session) -> web.Response:
    """Show usage, `?from&to&group_by` with one group; by default the last 30 days by day."""
    usage = await _usage(request, session)
    if len(usage.group_by) > 1:
        raise InvalidRequest("`group_by` is one of day, model and key here; the CSV takes several.")
    group = usage.group_by[0]
    today = clock.utc_now().date()
    return render(
        request,
        "usage.html",
        usage=usage,
        rows=usage.rows[::-1] if group == "day" else sorted(usage.rows, key=_spend, reverse=True),
        spans=[(days, today - timedelta(days=days - 1), today) for days in SPANS],
        group=group,
        groups=GROUPS,
        charts=charts_of(usage),
        label_of=label_of,
    )


async def get_csv(request: web.Request, session: Session) -> web.Response:
    """The usage as CSV, with any groups. Names are marked as text for spreadsheets, whatever they begin with."""
    usage = await _usage(request, session)
    written = StringIO()
    writer = csv.writer(written)
    groups = [name for group in usage.group_by for name in (("key_id", "key_name") if group == "key" else (group,))]
    writer.writerow([*groups, *COLUMNS])
    for row in usage.rows:
        writer.writerow([*(_text(getattr(row, name)) for name in groups), *(getattr(row, name) for name in COLUMNS)])
    name = f"usage-{usage.first}-{usage.last}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(text=written.getvalue(), content_type="text/csv", headers=headers)


async def _usage(request: web.Request, session: Session) -> UsageAnswer:
    services = request.app[SERVICES]
    given = MultiDict((name, value) for name, value in request.query.items() if value)  # forms send empty fields
    query = parse_query(given, UsageQuery)
    async with services.lists.one(session.key.account_id) as listing:
        return await usage_of(services, session.key.account_id, query, listing)


def _spend(row: UsageSums) -> Decimal:
    return Decimal(row.charged_usd)


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
