from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.cli.routing import _compact
from deploy.cli.tables import for_people
from shared.lanes import short_name
from shared.queue.demand import QUEUES

MOMENT = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "balance_usd": "5", "rows": 10, "on": True, "at": MOMENT, "scopes": ("read", "keys")},
    {"id": "longer", "balance_usd": "12.5", "rows": None, "on": False, "at": None, "scopes": ()},
]


def test_rows_are_a_table_whose_numbers_stand_at_the_right() -> None:
    head, first, second = for_people(ROWS).splitlines()
    assert head.split("  ")[0] == "ID"
    assert "BALANCE USD" in head
    end = head.index("BALANCE USD") + len("BALANCE USD")
    assert (first[:end].endswith("  5"), second[:end].endswith("12.5")) == (True, True)
    assert "2027-01-02 03:04:05Z" in first
    assert first.endswith("read, keys")
    assert second.endswith("none")


def test_nothing_and_one_thing_are_told_plainly() -> None:
    assert for_people([]) == "none"
    assert for_people({"account_id": "acc_x", "held_usd": "0"}).splitlines()[0].split() == ["account_id", "acc_x"]


def test_several_tables_have_titles() -> None:
    assert for_people({"QUEUES": ROWS, "WORKERS": []}).splitlines()[0] == "QUEUES"
    assert for_people({"QUEUES": ROWS, "WORKERS": []}).endswith("WORKERS\nnone")


def test_a_narrow_terminal_cuts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    assert for_people([{"who": "x" * 30, "at": "y" * 6}]).splitlines()[1].split() == ["x" * 30, "y" * 6]
    named = for_people([{"who": "x" * 30, "at": "y" * 60}, {"who": "z", "at": "z"}])
    assert named.split() == ["who", "x" * 30, "at", "y" * 60, "who", "z", "at", "z"]


def test_a_narrow_terminal_has_the_first_columns_and_says_which_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    wide = {"a": "x" * 9, "b": "y" * 9, "c": "z" * 9, "d": "v" * 9, "e": "w" * 9}
    _, row, told, _ = for_people([wide]).splitlines()
    assert row.split() == ["x" * 9, "y" * 9, "z" * 9]
    assert told == "(left out: d, e; a wider terminal or"


def test_lists_of_things_in_one_thing_are_tables_below_it() -> None:
    shown = for_people({"ok": True, "models": ["a", "b"], "upstreams": [{"name": "x"}, {"name": "y"}], "none": []})
    assert [line.split() for line in shown.splitlines()] == [
        ["ok", "yes"],
        ["models", "a,", "b"],
        ["none", "none"],
        [],
        ["upstreams"],
        ["NAME"],
        ["x"],
        ["y"],
    ]


def test_all_queues_of_a_lane_have_one_name() -> None:
    everything = [short_name(queue) for queue in QUEUES]
    assert _compact(everything) == ["*:interactive", "*:batch", "*:flex"]
    assert _compact(["openai:batch", "gemini:flex"]) == ["openai:batch", "gemini:flex"]


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07\x1b[2J", "one\nFAKE ROW", "\u202egnp", "\x9b31m", "a\tb\r"])
def test_names_that_callers_give_move_no_cursor(name: str) -> None:
    for shown in (for_people([{"name": name}, {"name": "x"}]), for_people({"name": name})):
        assert all(line.isprintable() for line in shown.splitlines())
        assert ascii(name)[1:-1] in shown
    assert len(for_people([{"name": name}, {"name": "x"}]).splitlines()) == 3


def test_of_many_things_in_a_cell_the_first_and_their_number_are_told() -> None:
    assert for_people([{"models": [f"m{n}" for n in range(22)]}]).splitlines()[1] == "m0, m1, m2, m3, … 22 in all"
