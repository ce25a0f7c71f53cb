"""Lists the items of a response's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from api.formats.responses.history import item_unknown
from api.formats.responses.ids import input_id, place_of
from api.formats.responses.items import AnyItem, FunctionOutputItem, MessageItem


class InputItemList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the items of a response's input."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    """The items of this page."""
    first_id: str
    """The id of the first item on the page; empty on an empty page."""
    last_id: str
    """The id of the last item on the page, for `after`; empty on an empty page."""
    has_more: bool
    """True if there are more items behind this page."""


def page_of(
    items: Sequence[AnyItem], request_id: str, limit: int, after: str | None, *, newest_first: bool
) -> InputItemList:
    """The next `limit` items after the one with the id `after`. Raises `NotFound` if no item has this id."""
    places = list(reversed(range(len(items))) if newest_first else range(len(items)))
    begin = _begin(places, request_id, after) if after else 0
    page = places[begin : begin + limit]
    data = [_shown(items[place], request_id, place) for place in page]
    first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
    return InputItemList(data=data, first_id=first, last_id=last, has_more=begin + limit < len(items))


def _begin(places: Sequence[int], request_id: str, after: str) -> int:
    found = place_of(after)
    if found is None or found.request_id != request_id or not found.in_input or found.place not in places:
        raise item_unknown(after)
    return places.index(found.place) + 1


def _shown(item: AnyItem, request_id: str, place: int) -> dict[str, Any]:
    """The item as it is listed; contents are lists of parts, as in OpenAI's API."""
    shown: dict[str, Any] = msgspec.to_builtins(item)
    shown["id"] = input_id(request_id, place)
    if isinstance(item, MessageItem | FunctionOutputItem):
        shown.setdefault("status", "completed")
    if isinstance(item, MessageItem) and isinstance(item.content, str):
        part: dict[str, Any] = {"type": "input_text", "text": item.content}
        if item.role == "assistant":
            part |= {"type": "output_text", "annotations": []}
        shown["content"] = [part]
    return shown
