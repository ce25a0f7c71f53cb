"""The earlier responses that a request of the Responses API continues: a chain of responses, and single items of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from api.formats.asked import Earlier
from api.formats.responses.answers import output_of
from api.formats.responses.ids import ItemPlace, place_of, request_id_of
from api.formats.responses.items import AnyItem, ItemReference
from api.formats.responses.objects import Repeated
from shared.errors import NotFound

_repeated: msgspec.json.Decoder[Repeated] = msgspec.json.Decoder(Repeated)
_items: msgspec.json.Decoder[list[AnyItem]] = msgspec.json.Decoder(list[AnyItem])


def previous_of(response: str | None) -> str | None:
    """The request of the response that is continued. Raises `NotFound` for a text that is no response id."""
    if not response:
        return None
    found = request_id_of(response)
    if found is None:
        raise previous_unknown(response)
    return found


def named_in(items: Iterable[AnyItem]) -> dict[str, str]:
    """The requests of the items that are referred to, each with one of these items' ids. Raises `NotFound` for a text that
    is no item id.
    """
    return {_place(item.id).request_id: item.id for item in items if isinstance(item, ItemReference)}


def previous_unknown(response: str) -> NotFound:
    """The error for a missing or expired response, in OpenAI's words."""
    return NotFound(f"Previous response with id '{response[:100]}' not found.", param="previous_response_id")


def item_unknown(item: str) -> NotFound:
    """The error for a missing item, in OpenAI's words."""
    return NotFound(f"Item with id '{item[:100]}' not found.", param="input")


def input_items(kept: bytes) -> list[AnyItem]:
    """Decode a stored input."""
    return _items.decode(kept)


def said_in(earlier: Earlier) -> list[AnyItem]:
    """The input and the output of an earlier response."""
    return [*input_items(earlier.input), *_output_items(earlier)]


def resolved(items: Sequence[AnyItem], others: Mapping[str, Earlier]) -> list[AnyItem]:
    """The items, with references replaced by the items that they mean. Raises `NotFound`."""
    known: dict[tuple[str, bool], list[AnyItem]] = {}
    return [_referred(item.id, others, known) if isinstance(item, ItemReference) else item for item in items]


def _referred(item: str, others: Mapping[str, Earlier], known: dict[tuple[str, bool], list[AnyItem]]) -> AnyItem:
    request_id, place, in_input = _place(item)
    items = known.get((request_id, in_input))
    if items is None:
        earlier = others[request_id]
        items = input_items(earlier.input) if in_input else _output_items(earlier)
        known[request_id, in_input] = items
    if place >= len(items):
        raise item_unknown(item)
    return items[place]


def _output_items(earlier: Earlier) -> list[AnyItem]:
    """The output items of the answer, in the form in which clients send them back."""
    done = earlier.done
    if done is None or not (done.text or done.calls):
        return []
    kinds = _repeated.decode(earlier.repeated).kinds
    output = output_of(done, earlier.request_id, kinds, encrypted=True, last="completed")
    return msgspec.convert(msgspec.to_builtins(output), list[AnyItem])


def _place(item: str) -> ItemPlace:
    found = place_of(item)
    if found is None:
        raise item_unknown(item)
    return found
