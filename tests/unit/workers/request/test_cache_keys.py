"""What a vendor is told of a caller's key for its cache."""

from __future__ import annotations

from shared.chat import Caching, Sampling
from workers.request.cache_keys import with_own_key


def test_the_same_key_is_another_one_for_each_account_and_never_too_long() -> None:
    asked = [
        (account, key, with_own_key(Sampling(seed=7, caching=Caching(key=key, explicit=True)), account))
        for account in ("acc_1", "acc_2")
        for key in ("k", "acc_2", "k" * 10_000)
    ]
    keys = {(account, key): told.caching.key for account, key, told in asked}
    assert len(set(keys.values())) == len(keys)
    assert all(told.seed == 7 and told.caching.explicit and len(told.caching.key or "") == 64 for *_, told in asked)
    again = with_own_key(Sampling(caching=Caching(key="k")), "acc_1")
    assert again.caching.key == keys["acc_1", "k"]


def test_without_a_key_the_vendor_is_told_none() -> None:
    sampling = Sampling(seed=7)
    assert with_own_key(sampling, "acc_1") is sampling
