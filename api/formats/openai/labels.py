"""Labels of OpenAI's API (`metadata`): the ones that are allowed, and the ones that are kept if a client sends
others.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import msgspec

LABELS_MAX, NAME_LENGTH_MAX, VALUE_LENGTH_MAX = 16, 64, 512
WITHOUT_NUL = {"pattern": r"^[^\x00]*\Z"}
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX, extra_json_schema=WITHOUT_NUL)]
LabelValue = Annotated[str, msgspec.Meta(max_length=VALUE_LENGTH_MAX, extra_json_schema=WITHOUT_NUL)]
Labels = Annotated[dict[Label, LabelValue], msgspec.Meta(max_length=LABELS_MAX)]
"""Labels without NUL, which the database does not take, see `refuse_nul`. A pattern would be matched against each of a
million labels before their number is checked.
"""

LabelsOrMore = Annotated[
    Any,
    msgspec.Meta(description="Labels. Those beyond the limits of OpenAI's API are left out and named in `x-ignored`."),
]


def refuse_nul(labels: dict[str, str] | None) -> None:
    """Raise `ValueError` if a label contains NUL."""
    if any("\0" in name or "\0" in value for name, value in (labels or {}).items()):
        raise ValueError("`metadata` has the character NUL")


def labels_in(given: object) -> dict[str, str]:
    """The allowed labels, the first ones if there are too many."""
    pairs = given.items() if isinstance(given, dict) else ()
    return dict(islice(((name, value) for name, value in pairs if _is_label(name, value)), LABELS_MAX))


def _is_label(name: str, value: object) -> bool:
    if not isinstance(value, str):
        return False
    return 0 < len(name) <= NAME_LENGTH_MAX and len(value) <= VALUE_LENGTH_MAX and "\0" not in name + value
