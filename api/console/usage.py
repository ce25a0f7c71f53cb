"""`/console/usage`: what was used by day, model or key, as pictures and as a table, and the same as CSV."""

from __future__ import annotations

import csv
from io import StringIO

from aiohttp import web
from multidict import MultiDict

from api.console.charts import charts_of, label_of
from api.console.frame import render
from api.console.session import Session
from api.endpoints.usage import GROUPS, UsageAnswer, UsageQuery, UsageSums, usage_of
from api.formats.parsing import parse_query
from api.services import SERVICES
from shared.errors import InvalidRequest

COLUMNS = UsageSums.__struct_fields__
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a table calculation would take a name for a formula."""


async def get_usage(request: web.Request, session: Session) -> web.Response:
    """`?from&to&group_by` with one group; the last 30 days by day, unless it says otherwise."""
    usage = await _usage(request, session)
    if len(usage.group_by) > 1:
        raise InvalidRequest("`group_by` is one of day, model and key here; the CSV takes several.")
    return render(
        request,
        "usage.html",
        usage=usage,
        group=usage.group_by[0],
        groups=GROUPS,
        charts=charts_of(usage),
        label_of=label_of,
    )


async def get_csv(request: web.Request, session: Session) -> web.Response:
    """The same rows, in any groups. Names are text for a table calculation, whatever they begin with."""
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
    given = MultiDict((name, value) for name, value in request.query.items() if value)  # a form sends empty fields, too
    query = parse_query(given, UsageQuery)
    async with services.lists.one(session.key.account_id) as listing:
        return await usage_of(services, session.key.account_id, query, listing)


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
