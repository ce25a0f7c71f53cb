"""The question to a vendor (messages, options, tools) in packed form, so that a waiting request takes only as much
memory as it has bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.catalogue.caching import writes_of
from shared.errors import InvalidRequest
from shared.footprint import footprint_of
from shared.input_tokens import input_bound
from shared.money import Writes

if TYPE_CHECKING:
    from api.formats.asked import Asked
    from shared.catalogue.models import Model

_encode = msgspec.msgpack.Encoder().encode


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Messages, sampling and tools in the form in which they go through Redis. `input_bound` is the upper bound of the
    input tokens, `writes` the part of them that the vendor may write to its cache, `footprint` the bytes of memory that
    a worker needs to decode them; `shown` has the messages as JSON, if the operator keeps them.
    """

    messages: msgspec.Raw
    sampling: msgspec.Raw
    tools: msgspec.Raw
    input_bound: int
    writes: Writes
    footprint: int
    shown: str | None = None


def packed(asked: Asked, model: Model, *, keep_messages: bool) -> Question:
    """Pack the question that `asked` puts to `model`. Raises `InvalidRequest` for numbers beyond 64 bits."""
    return Question(
        messages=msgspec.Raw(_pack(asked.messages)),
        sampling=msgspec.Raw(_pack(asked.sampling)),
        tools=msgspec.Raw(_pack(asked.tools)),
        input_bound=input_bound(asked.chat, model.image_tokens),
        writes=writes_of(model, asked.chat),
        footprint=footprint_of(asked.chat),
        shown=msgspec.json.encode(asked.messages).decode() if keep_messages else None,
    )


def _pack(value: object) -> bytes:
    try:
        return _encode(value)
    except OverflowError:
        raise InvalidRequest("A whole number in the body has more than 63 bits: send a smaller one.") from None
