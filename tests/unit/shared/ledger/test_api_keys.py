from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidApiKey
from shared.ledger.api_keys import ApiKey, split_key
from shared.money import NanoUsd
from shared.tokens import ALPHABET, SECRET_LENGTH, joined, random_word

NOW = datetime(2027, 1, 1, tzinfo=UTC)
KEY_ID, SECRET = random_word(12), random_word(SECRET_LENGTH)
KEY = joined("rml", KEY_ID, SECRET)


def _key(**changes: datetime | None) -> ApiKey:
    return ApiKey(
        id=KEY_ID,
        account_id="acc_x",
        name="",
        secret_sha256=hashlib.sha256(SECRET.encode()).digest(),
        scopes=("inference",),
        rpm=None,
        limit=None,
        used=NanoUsd(0),
        expires_at=changes.get("expires_at"),
        revoked_at=changes.get("revoked_at"),
        created_at=NOW,
    )


def test_a_secret_has_at_least_190_bits() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == 62
    assert SECRET_LENGTH * math.log2(len(ALPHABET)) >= 190


def test_every_letter_of_the_alphabet_is_drawn() -> None:
    assert set(random_word(10_000)) == set(ALPHABET)


def test_a_key_is_taken_apart_into_id_and_secret() -> None:
    assert split_key(KEY) == (KEY_ID, SECRET)


@given(st.integers(0, len(KEY) - 1), st.sampled_from(ALPHABET + "_- é\0"))
def test_a_key_with_one_mistyped_character_is_refused_without_a_lookup(position: int, character: str) -> None:
    mistyped = KEY[:position] + character + KEY[position + 1 :]
    if mistyped != KEY:
        with pytest.raises(InvalidApiKey):
            split_key(mistyped)


@given(st.integers(0, len(KEY) - 2))
def test_two_neighbouring_characters_exchanged_are_noticed(position: int) -> None:
    swapped = KEY[:position] + KEY[position + 1] + KEY[position] + KEY[position + 2 :]
    if swapped != KEY:
        with pytest.raises(InvalidApiKey):
            split_key(swapped)


@given(st.integers(0, len(KEY) - 1))
def test_a_key_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(InvalidApiKey):
        split_key(KEY[:length])


@given(st.text())
def test_anything_else_is_refused_and_never_repeated_in_the_message(text: str) -> None:
    with pytest.raises(InvalidApiKey) as refused:
        split_key(text + "\n" + SECRET)
    assert SECRET not in refused.value.message


def test_only_the_right_secret_proves_a_key() -> None:
    assert _key().proves(SECRET)
    assert not _key().proves(SECRET[:-1] + ("a" if SECRET[-1] != "a" else "b"))


def test_a_key_ends_at_its_expiry_and_at_its_revocation() -> None:
    assert _key().usable(NOW)
    assert _key(expires_at=NOW + timedelta(microseconds=1)).usable(NOW)
    assert not _key(expires_at=NOW).usable(NOW)
    assert not _key(revoked_at=NOW + timedelta(days=1)).usable(NOW)


def test_the_public_form_of_a_key_has_nothing_of_its_secret() -> None:
    shown = msgspec.to_builtins(_key().row())
    assert not {"secret", "secret_sha256", "key"} & shown.keys()
    assert SECRET not in repr(shown)
