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
"""A file for each, in the order in which models are listed."""
FILES = tuple(Path(__file__).with_name("companies") / f"{company}.toml" for company in COMPANIES)


OVERLAID: tuple[Kind, ...] = ("model", "upstream")
"""What an overlay may have."""


class Tables(NamedTuple):
    """The tables in force by their names."""

    models: dict[str, Written]
    upstreams: dict[str, Written]


def tables_in_force(overlay: Path | None = None) -> Tables:
    """The rows as written; what `overlay` says of a model goes before what our files say.

    Raises `SettingsError` with file, line and reason.
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
