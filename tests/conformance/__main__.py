"""`python -m tests.conformance`: runs the tests of this folder and prints the table of promises × APIs."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.conformance.cases import MODELS

MARKS = {"passed": "✓", "failed": "✗"}


class Table:
    """Collects, as a pytest plugin, how each test of a promise ended."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, str]] = {}
        self._ends: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            words = getattr(getattr(item, "function", None), "promise", None)
            case = getattr(item, "callspec", None)
            if words and case:
                self._places[item.nodeid] = words, case.params["case"].api

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid in self._places and (report.when == "call" or report.failed):
            words, api = self._places[report.nodeid]
            self._ends[words][api][report.outcome] += 1

    def lines(self) -> list[str]:
        """Markdown: ✓ all passed, ✗ with the number that failed, – where the API has no such thing."""
        head = ["| promise | " + " | ".join(MODELS) + " |", "|---|" + "---|" * len(MODELS)]
        rows = [f"| {words} | {' | '.join(_mark(ends[api]) for api in MODELS)} |" for words, ends in self._ends.items()]
        return [*head, *rows]


def _mark(ends: Counter[str]) -> str:
    if not ends:
        return "–"
    return f"{MARKS['failed']} {ends['failed']}" if ends["failed"] else f"{MARKS['passed']} {ends['passed']}"


def main() -> int:
    """Exit as pytest does."""
    table = Table()
    code = pytest.main([str(Path(__file__).parent), "-q", "--no-header", *sys.argv[1:]], plugins=[table])
    sys.stdout.write("\n".join(table.lines()) + "\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
