"""The files of the catalogue, and an operator's overlay over them."""

from __future__ import annotations

from pathlib import Path

from shared.catalogue.rows import Written, read_tables

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


def tables_in_force(overlay: Path | None = None) -> dict[str, Written]:
    """The rows as written, by their names; what `overlay` says of one goes before what our files say.

    Raises `SettingsError` with file, line and reason.
    """
    tables: dict[str, Written] = {}
    for path in FILES:
        for name, table in read_tables(path).items():
            if name in tables:
                raise table.error(f"{tables[name].path.name} has it, too")
            tables[name] = table
    for name, table in read_tables(overlay).items() if overlay else ():
        tables[name] = table.over(tables.get(name))
    return tables
