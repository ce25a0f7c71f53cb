"""Ids of responses and of their items, which lead to the request that they belong to."""

from __future__ import annotations

import re
from typing import NamedTuple

REQUEST, RESPONSE = "req_", "resp_"
_RESPONSE = re.compile(r"resp_([0-9a-z]{26})")
INPUT = "in"
_ITEM = re.compile(r"([a-z]{2,4})_([0-9a-z]{26})_([0-9]{1,6})")


class ItemPlace(NamedTuple):
    """Where an item stands: at `place` of the output of a request, or of its input."""

    request_id: str
    place: int
    in_input: bool


def response_id(request_id: str) -> str:
    """`resp_` and the 26 characters of the request's id."""
    return RESPONSE + request_id.removeprefix(REQUEST)


def request_id_of(response: str) -> str | None:
    """The other way round; None for what is no id of a response."""
    found = _RESPONSE.fullmatch(response)
    return REQUEST + found[1] if found else None


def item_id(kind: str, request_id: str, place: int) -> str:
    """Of an item of an answer, such as `msg_…_0`."""
    return f"{kind}_{request_id.removeprefix(REQUEST)}_{place}"


def input_id(request_id: str, place: int) -> str:
    """Of an item of the input."""
    return item_id(INPUT, request_id, place)


def place_of(item: str) -> ItemPlace | None:
    """Where the item stands; None for what is no id of one."""
    found = _ITEM.fullmatch(item)
    return ItemPlace(REQUEST + found[2], int(found[3]), found[1] == INPUT) if found else None
