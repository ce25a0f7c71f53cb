"""The files of the catalogue, and an operator's overlay over them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from shared.catalogue.written import Kind, Written, read_tables

COMPANIES = (
    "openai",
    "anthropic",
    "google",
    "amazon",
    "deepseek",
    "meta",
    "mistral",
    "qwen",
    "moonshot",
    "zai",
    "minimax",
    "xai",
    "ai21",
    "cohere",
)
"""One file per company, in the order in which models are listed."""
FILES = tuple(Path(__file__).with_name("companies") / f"{company}.toml" for company in COMPANIES)


OVERLAID: tuple[Kind, ...] = ("model", "upstream")
"""The kinds of tables that an overlay may contain."""


class Tables(NamedTuple):
    """The tables that are in force, by name."""

    models: dict[str, Written]
    upstreams: dict[str, Written]


def tables_in_force(overlay: Path | None = None) -> Tables:
    """Read the catalogue's tables; a field that `overlay` gives replaces ours. Raises `SettingsError` with file, line and
    reason.
    """
    models: dict[str, Written] = {}
    for path in FILES:
        for name, table in read_tables(path)["model"].items():
            if name in models:
                raise table.error(f"{models[name].path.name} has it, too")
            models[name] = table
    if overlay is None:
        return Tables(models, {})
    written = read_tables(overlay, OVERLAID)
    for name, table in written["model"].items():
        models[name] = table.over(models.get(name))
    return Tables(models, written["upstream"])
