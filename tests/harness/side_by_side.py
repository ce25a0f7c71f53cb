"""Which tests run in one process, one after the other, and which begin first, when `make test` uses several.

There are more processes than cores, because half of the time is spent waiting. Tests that share a system which is dear to
start form a group; a group runs in one process. Elsewhere each file is a group of its own.
"""

from __future__ import annotations

import pytest

SHARING = ("tests/faults/", "tests/e2e/", "tests/clients/", "tests/conformance/")
"""Folders whose tests share a system, in the order in which they begin: what takes longest comes first."""
APART = (
    "tests/e2e/test_all_models.py",
    "tests/e2e/test_batch_export.py",
    "tests/e2e/test_make_run.py",
    "tests/e2e/test_overlay.py",
    "tests/e2e/test_start.py",
    "tests/e2e/test_supervisor.py",
)
"""Files there that start systems of their own."""


def arrange(items: list[pytest.Item]) -> None:
    """Give each test the name of its group, and put the groups in order."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group_of(item)))
    items.sort(key=_turn_of)


def _group_of(item: pytest.Item) -> str:
    file = item.nodeid.partition("::")[0]
    return file if file in APART else next((folder for folder in SHARING if file.startswith(folder)), file)


def _turn_of(item: pytest.Item) -> int:
    group = _group_of(item)
    if group in SHARING:
        return SHARING.index(group)
    return len(SHARING) if group in APART else len(SHARING) + 1
