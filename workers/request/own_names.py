"""Makes names that callers give to vendors (a cache key, a user) unique to the account.

A vendor sees one customer, this service, so the same name from two accounts would be one name at the vendor. With
unique names no account can learn from its cached tokens what another account has asked, and no account is blamed for
another account's user.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from shared.chat import Sampling


def with_own_names(sampling: Sampling, account_id: str) -> Sampling:
    """The options with names that belong to this account alone: 64 characters, OpenAI's limit. The very same object without
    names.
    """
    key, user = sampling.caching.key, sampling.user
    if not key and not user:
        return sampling
    caching = msgspec.structs.replace(sampling.caching, key=_own(account_id, key))
    return msgspec.structs.replace(sampling, caching=caching, user=_own(account_id, user))


def _own(account_id: str, name: str | None) -> str | None:
    return hmac.new(account_id.encode(), name.encode(), hashlib.sha256).hexdigest() if name else None
