from __future__ import annotations

from deploy.cli.tables import for_people


def test_a_list_of_words_is_told_by_its_name() -> None:
    """As `rebootml migrate` has applied them."""
    assert for_people({"applied": ["0001_first.sql", "0002_second.sql"]}).split() == [
        "applied",
        "0001_first.sql,",
        "0002_second.sql",
    ]


def test_several_lists_are_a_table_each() -> None:
    shown = for_people({"queues": [{"name": "one", "ready": 1}], "workers": []})
    assert shown.split() == ["queues", "NAME", "READY", "one", "1", "workers", "none"]
