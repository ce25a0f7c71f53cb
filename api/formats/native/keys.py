"""The rules of a new key as callers write them, and the answer that shows a new key."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from api.formats.parsing import in_nano, in_utc
from shared.errors import InvalidRequest
from shared.ledger.api_keys import RPM_MAX, KeyRow, KeyRules

EXPIRY_MAX_S = 315_360_000
CREATE_HINT = (
    "It takes name, scopes (of inference, read and manage), rpm, limit_usd, strict and one of expires_at, expires_in_s"
)
Scope = Literal["inference", "read", "manage"]


class NewKeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of a new key; a limit that is left out does not apply."""

    name: str = ""
    """A name that tells the key from others, up to 200 characters; empty by default."""
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)] = ("inference", "read")
    """The key's scopes. `inference` runs models, `read` reads usage and requests, `manage` creates and ends keys."""
    rpm: Annotated[int, msgspec.Meta(ge=1, le=RPM_MAX)] | None = None
    """The most requests in any minute; null or left out for no limit."""
    limit_usd: Decimal | None = None
    """The most USD that the key may spend in all; null or left out for no limit."""
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    """The time at which the key ends, with a time zone; null or left out for never."""
    expires_in_s: Annotated[float, msgspec.Meta(gt=0, le=EXPIRY_MAX_S)] | None = None
    """The seconds after which the key ends; it may be given instead of `expires_at`."""
    strict: bool = False
    """True makes the key refuse every request of which something would be left out. False by default."""


class CreatedKey(KeyRow, frozen=True, kw_only=True):
    """A new key. No other answer shows `key`."""

    key: str
    """The key itself. It is never shown again."""


def rules_of(body: NewKeyBody, now: datetime) -> KeyRules:
    """The rules of a key that is created at `now`. Raises `InvalidRequest`."""
    scopes = tuple(dict.fromkeys(body.scopes))
    return KeyRules(
        name=body.name,
        scopes=scopes,
        rpm=body.rpm,
        limit=None if body.limit_usd is None else in_nano("limit_usd", body.limit_usd),
        expires_at=_expiry(body, now),
        strict=body.strict,
    )


def _expiry(body: NewKeyBody, now: datetime) -> datetime | None:
    if body.expires_at is not None and body.expires_in_s is not None:
        raise InvalidRequest("Give `expires_at` or `expires_in_s`, not both.")
    if body.expires_in_s is not None:
        return now + timedelta(seconds=body.expires_in_s)
    return body.expires_at and in_utc("expires_at", body.expires_at)
