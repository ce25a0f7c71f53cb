"""The constraints of the Bedrock runtime's own API model, which hold for every model: lengths, patterns, ranges, enums.

Sources: botocore 1.40's model of the service, and the words as users report them
(github.com/stdapi-ai/stdapi.ai/issues/224, github.com/NousResearch/hermes-agent/issues/55429; read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from deploy.simulator.bedrock.rules import invalid
from deploy.simulator.exchange import Refusal

IDENTIFIER_LENGTH_MAX = 64
STOPS_MAX = 2_500
IMAGE_FORMATS = ("png", "jpeg", "gif", "webp")
_IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]+")


def check_range(where: str, value: float | None, least: float, most: float | None = None) -> None:
    """Raise `Refusal` for a number beyond its bounds."""
    if value is not None and value < least:
        raise _failed(where, f"have value greater than or equal to {least:g}", f"{value:g}")
    if value is not None and most is not None and value > most:
        raise _failed(where, f"have value less than or equal to {most:g}", f"{value:g}")


def check_identifier(where: str, value: str) -> None:
    """Raise `Refusal` for a name or an id that is too long or has other characters."""
    if len(value) > IDENTIFIER_LENGTH_MAX:
        raise _failed(where, f"have length less than or equal to {IDENTIFIER_LENGTH_MAX}", value)
    check_length(where, value)
    if not _IDENTIFIER.fullmatch(value):
        raise _failed(where, f"satisfy regular expression pattern: {_IDENTIFIER.pattern}", value)


def check_length(where: str, value: str | None) -> None:
    """Raise `Refusal` for a text that is given and empty."""
    if value == "":
        raise _failed(where, "have length greater than or equal to 1", value)


def check_count(where: str, values: Collection[str], most: int) -> None:
    """Raise `Refusal` for too many values."""
    if len(values) > most:
        raise _failed(where, f"have length less than or equal to {most}", f"[{', '.join(values)}]"[:200])


def check_format(where: str, value: str) -> None:
    """Raise `Refusal` for an image format that is not in the enum, in small letters."""
    if value not in IMAGE_FORMATS:
        raise _failed(where, f"satisfy enum value set: [{', '.join(IMAGE_FORMATS)}]", value)


def _failed(where: str, constraint: str, value: str) -> Refusal:
    return invalid(
        f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: Member must {constraint}"
    )
