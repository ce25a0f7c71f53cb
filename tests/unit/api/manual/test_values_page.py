"""The guide to values says what the code does."""

from __future__ import annotations

import re

from api.manual.pages import PAGES
from shared.catalogue.models import load_catalogue
from shared.catalogue.vendor_limits import vendor_limits
from shared.settings import Settings

SETTINGS = Settings.load({"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r"})


def rows() -> list[list[str]]:
    page = PAGES / "guides" / "values.md"
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_is_that_of_the_catalogue() -> None:
    catalogue = load_catalogue()
    assert len(rows()) == 10
    for names, temperature, stops, top_k, images in rows():
        for name in re.findall("`([^`]+)`", names):
            model = catalogue.find(name)
            limits = vendor_limits(model)
            assert temperature == f"0 to {limits.temperature_max:g}", name
            most = min(limits.stops_max or SETTINGS.stop_sequences_max, SETTINGS.stop_sequences_max)
            assert stops == (str(most) if limits.blank_stops else f"{most}, none of white space only"), name
            assert top_k == ("–" if limits.top_k_max is None else str(limits.top_k_max)), name
            size = f" to {limits.image_bytes_max / 1024**2:g} MB" if limits.image_bytes_max else ""
            if images != "–" and model.image_tokens:
                assert images == ", ".join(limits.image_kinds) + size, name
