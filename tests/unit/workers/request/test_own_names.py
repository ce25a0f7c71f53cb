"""What a vendor is told of a caller's key for its cache, and of its user."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.chat import Caching, Sampling
from workers.request.own_names import with_own_names

NAMES: dict[str, tuple[Callable[[str], Sampling], Callable[[Sampling], str | None]]] = {
    "key": (lambda name: Sampling(seed=7, caching=Caching(key=name, explicit=True)), lambda told: told.caching.key),
    "user": (lambda name: Sampling(seed=7, user=name, caching=Caching(explicit=True)), lambda told: told.user),
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_same_name_is_another_one_for_each_account_and_never_too_long(kind: str) -> None:
    asking, name_in = NAMES[kind]
    asked = [
        (account, name, with_own_names(asking(name), account))
        for account in ("acc_1", "acc_2")
        for name in ("k", "acc_2", "k" * 10_000)
    ]
    names = {(account, name): name_in(told) for account, name, told in asked}
    assert len(set(names.values())) == len(names)
    assert all(told.seed == 7 and told.caching.explicit and len(name_in(told) or "") == 64 for *_, told in asked)
    assert name_in(with_own_names(asking("k"), "acc_1")) == names["acc_1", "k"]


def test_without_a_name_the_vendor_is_told_none() -> None:
    sampling = Sampling(seed=7)
    assert with_own_names(sampling, "acc_1") is sampling
