"""Finds the vendors and upstreams for which this process has credentials, from the environment alone, without loading an
SDK.

AWS's usual chain includes files and the machine's own role. Here a file or a region counts as a hint, and `bedrock.py` asks
AWS's SDK whether the chain has credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shared.catalogue.upstreams import Upstream
from shared.settings import SettingsError
from shared.vendors import AWS_KEYS, VENDORS


def has_credentials(provider: str, environment: Mapping[str, str]) -> bool:
    """True if the environment names an account with `provider`."""
    if any(environment.get(variable) for variable in VENDORS[provider].credentials):
        return True
    return provider == "bedrock" and _aws_file(environment).is_file()


def variables_of(upstream: Upstream) -> tuple[str, ...]:
    """The variables of which one has the upstream's key."""
    return (upstream.key_variable,) if upstream.key_variable else VENDORS[upstream.provider].credentials


def environment_of(upstream: Upstream, environment: Mapping[str, str]) -> dict[str, str] | None:
    """The environment for the upstream's provider: its own key and address replace the vendor's usual ones. None if its key
    is missing. Raises `SettingsError` for a file that is empty or cannot be read.
    """
    told = dict(environment)
    vendor = VENDORS[upstream.provider]
    if upstream.key_variable or upstream.key_file:
        key = _key_of(upstream, environment)
        if not key:
            return None
        told |= _with_key(upstream.provider, vendor.key, key)
    if upstream.base_url:
        told[vendor.address] = upstream.base_url
    return told


def _key_of(upstream: Upstream, environment: Mapping[str, str]) -> str:
    if upstream.key_variable:
        return environment.get(upstream.key_variable, "").strip()
    try:
        key = Path(str(upstream.key_file)).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"upstream {upstream.name!r}: `key_file` {upstream.key_file} cannot be read ({type(error).__name__})"
        ) from None
    if not key:
        raise SettingsError(
            f"upstream {upstream.name!r}: `key_file` {upstream.key_file} is empty: write the key into it"
        )
    return key


def _with_key(provider: str, name: str, key: str) -> dict[str, str]:
    """The variables of a key. AWS's keys have several parts, written `ID:SECRET` or `ID:SECRET:SESSION_TOKEN`; Bedrock's
    own keys have no colon.
    """
    if provider != "bedrock" or ":" not in key:
        return {name: key}
    parts = dict(zip(AWS_KEYS, (*key.split(":", 2), ""), strict=False))
    return {name: "", **parts}


def _aws_file(environment: Mapping[str, str]) -> Path:
    named = environment.get("AWS_SHARED_CREDENTIALS_FILE")
    return Path(named) if named else Path(environment.get("HOME", "/")) / ".aws" / "credentials"
