"""The vendors, in one table: what they are called, which APIs they have, and which variables have their keys and addresses.
Whatever else has something for each vendor reads its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

ProviderName = Literal["openai", "bedrock", "deepseek", "gemini"]
AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""The parts of a key of AWS, in the order in which a key of an upstream has them."""


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor."""

    provider: ProviderName
    """Its name in the catalogue, in queues and in metrics."""
    title: str
    """Its name for people."""
    traced_as: str
    """The value of `gen_ai.provider.name` in traces (OpenTelemetry's semantic conventions 1.41)."""
    apis: tuple[str, ...]
    """Its wire protocols."""
    prefixes: tuple[str, ...]
    """Its variables begin with one of these. Only workers get them."""
    key: str
    """The variable for the key of an upstream."""
    address: str
    """The variable for the address of an upstream."""
    credentials: tuple[str, ...]
    """One of these variables suffices for a worker to call the vendor."""
    chosen_by: tuple[str, ...]
    """One of these variables says that the vendor itself is meant; without them `make run` simulates it."""
    secrets: tuple[str, ...]
    """The variables that may be in a file instead."""
    has_flex: bool = False
    """True if the vendor has the service tier flex."""
    is_addressable: bool = False
    """True if rows of models may name another address, because other services speak the vendor's protocol, too."""


_TABLE = (
    Vendor(
        provider="openai",
        title="OpenAI",
        traced_as="openai",
        apis=("openai-chat", "openai-responses", "openai-realtime"),
        prefixes=("OPENAI_",),
        key="OPENAI_API_KEY",
        address="OPENAI_BASE_URL",
        credentials=("OPENAI_API_KEY",),
        chosen_by=("OPENAI_API_KEY",),
        secrets=("OPENAI_API_KEY",),
        has_flex=True,
        is_addressable=True,
    ),
    Vendor(
        provider="bedrock",
        title="Bedrock",
        traced_as="aws.bedrock",
        apis=("bedrock-converse", "bedrock-invoke"),
        prefixes=("AWS_",),
        key="AWS_BEARER_TOKEN_BEDROCK",
        address="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        credentials=(
            "AWS_ACCESS_KEY_ID",
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_REGION",
        ),
        chosen_by=(
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        ),
        secrets=(*AWS_KEYS, "AWS_BEARER_TOKEN_BEDROCK"),
    ),
    Vendor(
        provider="deepseek",
        title="DeepSeek",
        traced_as="deepseek",
        apis=("deepseek-chat",),
        prefixes=("DEEPSEEK_",),
        key="DEEPSEEK_API_KEY",
        address="DEEPSEEK_BASE_URL",
        credentials=("DEEPSEEK_API_KEY",),
        chosen_by=("DEEPSEEK_API_KEY",),
        secrets=("DEEPSEEK_API_KEY",),
        is_addressable=True,
    ),
    Vendor(
        provider="gemini",
        title="Gemini",
        traced_as="gcp.gemini",
        apis=("gemini",),
        prefixes=("GEMINI_", "GOOGLE_"),
        key="GEMINI_API_KEY",
        address="GOOGLE_GEMINI_BASE_URL",
        credentials=("GEMINI_API_KEY",),
        chosen_by=("GEMINI_API_KEY",),
        secrets=("GEMINI_API_KEY",),
        has_flex=True,
    ),
)
VENDORS: Mapping[str, Vendor] = {vendor.provider: vendor for vendor in _TABLE}
"""The rows, by provider. Locks of batch feeds are numbered in this order."""
PROVIDERS = tuple(VENDORS)
FLEX_PROVIDERS = tuple(name for name, vendor in VENDORS.items() if vendor.has_flex)
ADDRESSABLE = tuple(name for name, vendor in VENDORS.items() if vendor.is_addressable)
VARIABLE_PREFIXES = tuple(prefix for vendor in _TABLE for prefix in vendor.prefixes)
"""Prefixes of variables that only workers get: the supervisor keeps them from front doors and the simulator."""
SECRETS = tuple(name for vendor in _TABLE for name in vendor.secrets)
