"""Every table and paper that has something for each vendor has it for all of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest

from deploy.local.vendors import SIMULATED_AT
from shared.secret_files import file_variable
from shared.vendors import PROVIDERS, SECRETS, VARIABLE_PREFIXES, VENDORS, ProviderName, Vendor
from workers.loop.large_jobs import COPIES
from workers.providers.loading import FILES

APIS = [api for vendor in VENDORS.values() for api in vendor.apis]


@pytest.mark.parametrize(
    ("named", "known"),
    [(get_args(ProviderName), PROVIDERS), (COPIES, PROVIDERS), (SIMULATED_AT, PROVIDERS), (FILES, APIS)],
    ids=["type", "memory", "simulator", "files of APIs"],
)
def test_a_table_has_each_vendor_once(named: Collection[str], known: Collection[str]) -> None:
    assert sorted(named) == sorted(known)


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_a_vendors_variables_have_its_prefixes(vendor: Vendor) -> None:
    for name in (vendor.key, vendor.address, *vendor.credentials, *vendor.chosen_by, *vendor.secrets):
        assert name.startswith(vendor.prefixes)


@pytest.mark.parametrize(
    ("paper", "names"),
    [
        ("README.md", [vendor.key for vendor in VENDORS.values()] + [file_variable(name) for name in SECRETS]),
        ("shared/catalogue/FIELDS.md", VARIABLE_PREFIXES),
    ],
)
def test_a_paper_names_all(paper: str, names: Collection[str]) -> None:
    text = Path(paper).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []
