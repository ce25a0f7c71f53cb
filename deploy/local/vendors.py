"""Decides which vendors are real and which are simulated, and which variables each process gets.

A vendor is real only if a variable of its own says so, so that a forgotten credentials file never spends money.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from shared.catalogue.files import OVERLAID
from shared.catalogue.written import read_tables
from shared.secret_files import file_variable
from shared.settings import SettingsError
from shared.vendors import VARIABLE_PREFIXES, VENDORS, Vendor

Environment = Mapping[str, str]


SIMULATED_AT: Mapping[str, str] = {"openai": "/v1", "bedrock": "/bedrock", "deepseek": "/deepseek", "gemini": "/gemini"}
"""By provider, the path of the simulator that stands for the vendor."""
AWS_SIMULATED = {
    "AWS_ACCESS_KEY_ID": "simulated",
    "AWS_SECRET_ACCESS_KEY": "simulated",
    "AWS_REGION": "us-east-1",
    # neither a file nor the machine's own role may replace the simulator's credentials
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class NamedKey(NamedTuple):
    """The variable of a key that a row of the overlay names; `address` is the row's own."""

    row: str
    provider: str
    variable: str
    address: str


def keys_named(environment: Environment) -> list[NamedKey]:
    """The keys that models and upstreams of the overlay name. Workers get them. If the simulator stands for the vendor
    and the row has no address of its own, they are sent to the simulator. Workers report errors in the overlay.
    """
    overlay = environment.get("CATALOGUE", "").strip()
    try:
        tables = read_tables(Path(overlay), OVERLAID) if overlay else {}
    except SettingsError:
        return []
    rows = [(f"{kind} {name}", table.fields) for kind, named in tables.items() for name, table in named.items()]
    return [
        NamedKey(row, str(fields.get("provider", "")), variable, _without_user(str(fields.get("base_url", ""))))
        for row, fields in rows
        if (variable := str(fields.get("key_variable", ""))).startswith(VARIABLE_PREFIXES)
    ]


def how_rows_are_called(environment: Environment) -> list[str]:
    """For each row of the overlay that names a key, a sentence that says how it is called."""
    told = for_workers(environment, "")
    simulated = {vendor.provider for vendor in simulated_vendors(environment)}
    lines = []
    for key in keys_named(environment):
        if not any(told.get(name, "").strip() for name in (key.variable, file_variable(key.variable))):
            hint = " (any value will do for the simulator)" if key.provider in simulated and not key.address else ""
            how = f"not called: {key.variable} is not set{hint}"
        elif key.address:
            how = f"called at {key.address} with {key.variable}"
        else:
            how = "simulated" if key.provider in simulated else "real"
        lines.append(f"{key.row}: {how}")
    return lines


def _without_user(url: str) -> str:
    """The address without user and password, which may be secret."""
    scheme, slashes, rest = url.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def is_real(vendor: Vendor, environment: Environment) -> bool:
    """True if the environment has one of the variables that choose the real vendor instead of the simulator."""
    chosen_by = (name for variable in vendor.chosen_by for name in (variable, file_variable(variable)))
    return any(environment.get(name, "").strip() for name in chosen_by)


def simulated_vendors(environment: Environment) -> list[Vendor]:
    """The vendors that need the simulator."""
    return [vendor for vendor in VENDORS.values() if not is_real(vendor, environment)]


def without_vendors(environment: Environment) -> dict[str, str]:
    """The environment for every process that is not a worker."""
    return {name: value for name, value in environment.items() if not name.startswith(VARIABLE_PREFIXES)}


def for_workers(environment: Environment, simulator_url: str | None) -> dict[str, str]:
    """The vendor variables that only workers get."""
    named = [name for one in keys_named(environment) for name in (one.variable, file_variable(one.variable))]
    variables = {name: value for name in named if (value := environment.get(name))}
    for vendor in VENDORS.values():
        variables |= _variables(vendor, environment, simulator_url or "")
    if simulator_url:
        # calls to the local simulator must not go through a proxy
        for name in ("NO_PROXY", "no_proxy"):
            variables[name] = ",".join(filter(None, (environment.get(name), "127.0.0.1")))
    return variables


def _variables(vendor: Vendor, environment: Environment, simulator_url: str) -> dict[str, str]:
    """The vendor's variables: those of the environment if it is real, otherwise the simulator's."""
    if is_real(vendor, environment):
        return {name: value for name, value in environment.items() if name.startswith(vendor.prefixes)}
    key = AWS_SIMULATED if vendor.provider == "bedrock" else {vendor.key: "simulated"}
    return key | {vendor.address: simulator_url + SIMULATED_AT[vendor.provider]}
