"""Decides which vendors are real and which are simulated, and which variables each process gets.

A vendor is real only if a variable of its own says so, so that a forgotten credentials file never spends money.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from shared.catalogue.files import OVERLAID
from shared.catalogue.written import read_tables
from shared.secret_files import file_variable
from shared.settings import VENDOR_VARIABLE_PREFIXES, SettingsError

Environment = Mapping[str, str]


class Vendor(msgspec.Struct, frozen=True):
    """One vendor. If any of `own` is set it is real; otherwise `simulated` replaces all variables that begin with
    `prefixes`.
    """

    name: str
    own: tuple[str, ...]
    prefixes: tuple[str, ...]
    simulated: dict[str, str]

    def is_real(self, environment: Environment) -> bool:
        """Whether the environment names this vendor's credentials."""
        own = (name for variable in self.own for name in (variable, file_variable(variable)))
        return any(environment.get(name, "").strip() for name in own)

    def variables(self, environment: Environment, simulator_url: str | None) -> dict[str, str]:
        """The variables for the vendor's workers: those of the environment, or the simulator's."""
        if self.is_real(environment):
            return {name: value for name, value in environment.items() if name.startswith(self.prefixes)}
        return {name: value.replace("SIMULATOR", simulator_url or "") for name, value in self.simulated.items()}


VENDORS = (
    Vendor(
        name="OpenAI",
        own=("OPENAI_API_KEY",),
        prefixes=("OPENAI_",),
        simulated={"OPENAI_API_KEY": "simulated", "OPENAI_BASE_URL": "SIMULATOR/v1"},
    ),
    Vendor(
        name="DeepSeek",
        own=("DEEPSEEK_API_KEY",),
        prefixes=("DEEPSEEK_",),
        simulated={"DEEPSEEK_API_KEY": "simulated", "DEEPSEEK_BASE_URL": "SIMULATOR/deepseek"},
    ),
    Vendor(
        name="Gemini",
        own=("GEMINI_API_KEY",),
        prefixes=("GEMINI_", "GOOGLE_"),
        simulated={"GEMINI_API_KEY": "simulated", "GOOGLE_GEMINI_BASE_URL": "SIMULATOR/gemini"},
    ),
    Vendor(
        name="Bedrock",
        own=("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        prefixes=("AWS_",),
        simulated={
            "AWS_ACCESS_KEY_ID": "simulated",
            "AWS_SECRET_ACCESS_KEY": "simulated",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "SIMULATOR/bedrock",
            # neither a file nor the machine's own role may replace the simulator's credentials
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    ),
)


class NamedKey(NamedTuple):
    """The variable of a key that a row of the overlay names; `address` is the row's own."""

    row: str
    provider: str
    variable: str
    address: str


def keys_named(environment: Environment) -> list[NamedKey]:
    """The keys that models and upstreams of the overlay name. Workers get them; if the simulator stands for the vendor and
    the row has no address of its own, they go to the simulator. Workers report errors in the overlay.
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
        if (variable := str(fields.get("key_variable", ""))).startswith(VENDOR_VARIABLE_PREFIXES)
    ]


def how_rows_are_called(environment: Environment) -> list[str]:
    """By row of the overlay that names a key, what becomes of its calls, in words."""
    told = for_workers(environment, "")
    simulated = {vendor.name.lower() for vendor in simulated_vendors(environment)}
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


def simulated_vendors(environment: Environment) -> list[Vendor]:
    """The vendors that need the simulator."""
    return [vendor for vendor in VENDORS if not vendor.is_real(environment)]


def without_vendors(environment: Environment) -> dict[str, str]:
    """The environment for every process that is not a worker."""
    return {name: value for name, value in environment.items() if not name.startswith(VENDOR_VARIABLE_PREFIXES)}


def for_workers(environment: Environment, simulator_url: str | None) -> dict[str, str]:
    """The vendor variables that only workers get."""
    named = [name for one in keys_named(environment) for name in (one.variable, file_variable(one.variable))]
    variables = {name: value for name in named if (value := environment.get(name))}
    for vendor in VENDORS:
        variables |= vendor.variables(environment, simulator_url)
    if simulator_url:
        # calls to the local simulator must not go through a proxy
        for name in ("NO_PROXY", "no_proxy"):
            variables[name] = ",".join(filter(None, (environment.get(name), "127.0.0.1")))
    return variables
