"""The names of models: public names, aliases, vendors' ids, and these names in the spellings of other gateways'
clients.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from shared.catalogue.rows import Row
from shared.catalogue.written import Written

COMPARED_LENGTH_MAX = 100
"""The most characters of an unknown name that are compared with known names; the time grows with their square."""
NEAREST_MAX = 3
LOOKED_AT_MAX = 12
"""The most similar names that are checked; several may belong to one model."""
REMEMBERED_MAX = 1_000
"""The most unknown names whose nearest names are cached: the lines of a batch often have the same wrong name."""
GEOGRAPHY = re.compile(r"(?:us|eu|apac|jp|au|ca|global)\.")
"""Prefixes of Bedrock's inference profiles (docs.aws.amazon.com/bedrock/latest/userguide, inference-profiles-support.html,
read 2026-11).
"""
PREFIXES = {
    "meta-llama": "meta",
    "mistralai": "mistral",
    "amazon-nova": "amazon",
    "models": "gemini",
    "deepseek-ai": "deepseek",
    "Qwen": "qwen",
    "moonshotai": "moonshot",
    "z-ai": "z.ai",
    "zai": "z.ai",
    "zai-org": "z.ai",
    "MiniMaxAI": "minimax",
    "x-ai": "xai",
}
"""Prefixes that are neither a company nor a provider of the catalogue, and what they mean: those of OpenRouter, LiteLLM and
Hugging Face, and Google's `models/…` (read 2026-11).
"""


class Names:
    """The names of all rows. If a name could mean two models, a public name wins over an alias, an alias over a vendor's
    id, the vendor's own API over another address of the same id, and an earlier row over a later one.
    """

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        self._exact = {name: name for name in rows}
        self._exact.update({alias: row.name for row in rows.values() for alias in row.aliases})
        self._bedrock: dict[str, str] = {}
        for row in sorted(rows.values(), key=lambda row: row.base_url is not None):
            self._exact.setdefault(row.vendor_model, row.name)
            if row.provider == "bedrock":
                self._bedrock.setdefault(_bare_id(row.vendor_model), row.name)
        self._spellings = {spelling.casefold(): name for spelling, name in self._exact.items()}
        self._nearest = lru_cache(REMEMBERED_MAX)(self._compare)

    def find(self, name: str) -> str | None:
        """The public name of the model that `name` means, or None."""
        found = self._known(name)
        if found:
            return found
        prefix, _, rest = name.partition("/")
        found = self._known(rest)
        return found if found and self._goes_with(prefix, self._rows[found]) else None

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """The names that are listed beside a public name: the row's aliases, and the vendor's id if it leads to this row."""
        row = self._rows[name]
        own = [one for one in (row.vendor_model, *row.aliases) if one != name and self._exact[one] == name]
        return tuple(dict.fromkeys(own))

    def nearest(self, name: str) -> tuple[str, ...]:
        """Up to three public names that are similar to the unknown `name`, nearest first."""
        return self._nearest(name[:COMPARED_LENGTH_MAX].casefold()[:COMPARED_LENGTH_MAX])

    def _known(self, name: str) -> str | None:
        return self._exact.get(name) or self._bedrock.get(_bare_id(name))

    @staticmethod
    def _goes_with(prefix: str, row: Row) -> bool:
        return PREFIXES.get(prefix, prefix) in {row.company.lower(), row.provider}

    def _compare(self, spelling: str) -> tuple[str, ...]:
        close = difflib.get_close_matches(spelling, self._spellings, LOOKED_AT_MAX)
        return tuple(dict.fromkeys(self._spellings[one] for one in close))[:NEAREST_MAX]


def refuse_shared(rows: Iterable[tuple[Written, Row]]) -> None:
    """Raise `SettingsError` at the first row whose name or alias belongs to an earlier row."""
    holders: dict[str, str] = {}
    for written, row in rows:
        for field, name in (("name", row.name), *(("aliases", alias) for alias in row.aliases)):
            holder = holders.setdefault(name, row.name)
            if holder != row.name:
                raise written.error(
                    f"`{field}` has {name!r}, which is a name of {holder!r}, too: leave it out of the `aliases` of one"
                )


def _bare_id(name: str) -> str:
    """An id of Bedrock without the geographic prefix and without `:0`."""
    geography = GEOGRAPHY.match(name)
    return name[geography.end() if geography else 0 :].removesuffix(":0")
