"""Ids of responses and of their items; each id leads to its request."""

from __future__ import annotations

import re
from typing import NamedTuple

REQUEST, RESPONSE = "req_", "resp_"
_RESPONSE = re.compile(r"resp_([0-9a-z]{26})")
INPUT = "in"
_ITEM = re.compile(r"([a-z]{2,4})_([0-9a-z]{26})_([0-9]{1,6})")


class ItemPlace(NamedTuple):
    """The place of an item: its number `place` in the output or in the input of a request."""

    request_id: str
    place: int
    in_input: bool


def response_id(request_id: str) -> str:
    """The response's id: `resp_` and the 26 characters of the request's id."""
    return RESPONSE + request_id.removeprefix(REQUEST)


def request_id_of(response: str) -> str | None:
    """The request of a response id; None for a text that is no response id."""
    found = _RESPONSE.fullmatch(response)
    return REQUEST + found[1] if found else None


def item_id(kind: str, request_id: str, place: int) -> str:
    """The id of an item of an answer, such as `msg_…_0`."""
    return f"{kind}_{request_id.removeprefix(REQUEST)}_{place}"


def input_id(request_id: str, place: int) -> str:
    """The id of an item of the input."""
    return item_id(INPUT, request_id, place)


def place_of(item: str) -> ItemPlace | None:
    """The place of the item; None for a text that is no item id."""
    found = _ITEM.fullmatch(item)
    return ItemPlace(REQUEST + found[2], int(found[3]), found[1] == INPUT) if found else None
