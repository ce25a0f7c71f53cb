"""Which vendors this process has credentials for, told from the environment alone: no SDK is loaded to find out.

AWS's usual chain ends in files and in the machine's own role. A file or a region counts as a hint here, and
`bedrock.py` asks AWS's SDK whether the chain really ends in credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

VARIABLES = {
    "openai": ("OPENAI_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "gemini": ("GEMINI_API_KEY",),
    "bedrock": (
        "AWS_ACCESS_KEY_ID",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_REGION",
    ),
}
"""Any one of them will do."""


def has_credentials(provider: str, environment: Mapping[str, str]) -> bool:
    """Whether the environment speaks of an account with `provider`."""
    if any(environment.get(variable) for variable in VARIABLES[provider]):
        return True
    return provider == "bedrock" and _aws_file(environment).is_file()


def _aws_file(environment: Mapping[str, str]) -> Path:
    named = environment.get("AWS_SHARED_CREDENTIALS_FILE")
    return Path(named) if named else Path(environment.get("HOME", "/")) / ".aws" / "credentials"
