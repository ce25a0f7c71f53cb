"""The error catalogue, made from the tree in `shared/errors.py`: a Markdown table, and the meaning of each error."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from shared import errors
from shared.errors import RebootError

HEADINGS = ("Status", "Code", "Meaning", "What to do", "Retry-After", "Retryable")


def every_error(root: type[RebootError] = RebootError) -> Iterator[type[RebootError]]:
    """All classes of the tree, parents first. Subclasses in other modules are left out: to callers they are the same as
    their parents.
    """
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from every_error(kind)


def meaning(kind: type[RebootError]) -> str:
    """The first paragraph of the class's docstring."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def table() -> str:
    """A row for each error, by status."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(_row, sorted(every_error(), key=lambda kind: kind.status))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(kind: type[RebootError]) -> tuple[str, ...]:
    wait_s = kind.default_retry_after_s
    wait = "" if wait_s is None else f"{wait_s:g} s, unless known better"
    return str(kind.status), f"`{kind.code}`", meaning(kind), kind.advice, wait, "yes" if kind.retryable else ""
