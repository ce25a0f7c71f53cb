from __future__ import annotations

from datetime import date
from typing import Any

from api.console.charts import BARS_MAX, charts_of
from api.endpoints.usage import UsageAnswer, UsageGroup, UsageSums


def _sums(**counted: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(UsageSums.__struct_fields__, 0)
    return nothing | {"charged_usd": "0"} | counted


def _answer(group: Any, rows: list[UsageGroup], **total: Any) -> UsageAnswer:
    first, last = date(2027, 1, 1), date(2027, 1, 3)
    return UsageAnswer(first=first, last=last, group_by=(group,), rows=rows, total=UsageSums(**_sums(**total)))


def test_a_day_without_requests_has_its_place_among_the_others() -> None:
    row = UsageGroup(day=date(2027, 1, 2), **_sums(requests=4, failed=1, charged_usd="0.5"))
    spend, _, requests = charts_of(_answer("day", [row], requests=4, failed=1, charged_usd="0.5"))
    assert [(bar.label, bar.parts) for bar in spend.bars] == [
        ("2027-01-01", (0.0,)),
        ("2027-01-02", (100.0,)),
        ("2027-01-03", (0.0,)),
    ]
    assert requests.bars[1].parts == (75.0, 25.0)
    assert (spend.total, requests.total) == ("$0.50", "4")


def test_the_parts_of_a_bar_are_all_its_tokens_each_once() -> None:
    counted = {"tokens_input": 100, "tokens_cached": 30, "tokens_cache_written": 20, "tokens_output": 100}
    _, tokens, _ = charts_of(_answer("model", [UsageGroup(model="one", **_sums(**counted))], **counted))
    assert tokens.bars[0].parts == (25.0, 15.0, 10.0, 50.0)
    assert (tokens.bars[0].told, tokens.most, tokens.total) == ("200", "200", "200")


def test_of_many_models_the_dearest_ones_are_drawn_in_the_order_of_what_they_cost() -> None:
    rows = [UsageGroup(model=f"m{cost}", **_sums(charged_usd=str(cost))) for cost in range(BARS_MAX + 5)]
    spend, *_ = charts_of(_answer("model", rows, charged_usd="136"))
    assert [bar.label for bar in spend.bars] == [f"m{cost}" for cost in range(BARS_MAX + 4, 4, -1)]


def test_nothing_used_draws_nothing_and_divides_by_nothing() -> None:
    assert all(bar.parts == (0.0,) * len(bar.parts) for chart in charts_of(_answer("day", [])) for bar in chart.bars)
