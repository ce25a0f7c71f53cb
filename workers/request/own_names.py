"""Names that callers give to vendors: a key for the vendor's cache, and a user. The vendor sees one customer, this service:
there the same name of two accounts is two names. Neither account finds out from its cached tokens what the other has asked,
and what one's user does is not held against the other's.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from shared.chat import Sampling


def with_own_names(sampling: Sampling, account_id: str) -> Sampling:
    """The same with names that are this account's alone: 64 characters, which is what OpenAI takes at most. The very same
    without any.
    """
    key, user = sampling.caching.key, sampling.user
    if not key and not user:
        return sampling
    caching = msgspec.structs.replace(sampling.caching, key=_own(account_id, key))
    return msgspec.structs.replace(sampling, caching=caching, user=_own(account_id, user))


def _own(account_id: str, name: str | None) -> str | None:
    return hmac.new(account_id.encode(), name.encode(), hashlib.sha256).hexdigest() if name else None
