"""Callers' keys for a vendor's cache. The vendor sees one customer, this service: there the same key of two accounts is two
keys, so that neither finds out from its cached tokens what the other has asked.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from shared.chat import Sampling


def with_own_key(sampling: Sampling, account_id: str) -> Sampling:
    """The same with a key that is this account's alone: 64 characters, which is what OpenAI takes at most. The very same
    without one.
    """
    key = sampling.caching.key
    if not key:
        return sampling
    own = hmac.new(account_id.encode(), key.encode(), hashlib.sha256).hexdigest()
    return msgspec.structs.replace(sampling, caching=msgspec.structs.replace(sampling.caching, key=own))
