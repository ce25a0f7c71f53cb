"""Finds the model that a body names. A body may use any of the model's names; later code uses the public one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from api.formats.asked import Asked
from shared.catalogue.models import LISTED_AT, Catalogue
from shared.errors import InvalidRequest, TooManyValues

V1_LISTED_AT = "/v1/models"


class _Body(msgspec.Struct, frozen=True):
    """The only part of a faulty body that is needed here."""

    model: str


class _Line(msgspec.Struct, frozen=True):
    """The only part of a batch line in OpenAI's form that is needed here."""

    body: _Body


_body_decoder = msgspec.json.Decoder(_Body)
_line_decoder = msgspec.json.Decoder(_Line)


def listed_at(path: str) -> str:
    """The route that lists the models in the API that `path` belongs to."""
    return V1_LISTED_AT if path.startswith("/v1/") else LISTED_AT


def asked_in(body: bytes, parse: Callable[[bytes], Asked], catalogue: Catalogue, route: str) -> Asked:
    """The request in `body`, with the model's public name. An unknown name in a body without fault is kept, because the
    body may repeat a request whose model has left the catalogue; looking the model up refuses it otherwise.
    """
    with unknown_model_first(body, catalogue, route):
        asked = parse(body)
    models = tuple(map(catalogue.public_name, asked.models))
    return msgspec.structs.replace(asked, model=catalogue.public_name(asked.model), models=models)


@contextmanager
def unknown_model_first(body: bytes, catalogue: Catalogue, route: str, *, nearest: bool = True) -> Iterator[None]:
    """Surround the parsing of `body`: if it has a fault and names an unknown model, `ModelNotFound` is raised instead,
    because such a body probably has another model's fields.
    """
    try:
        yield
    except TooManyValues:
        raise
    except InvalidRequest:
        named = _named_in(body)
        if named is not None:
            catalogue.find(named, route, nearest=nearest)
        raise


def _named_in(body: bytes) -> str | None:
    """The field `model` of a chat request, or of the request in a line."""
    try:
        return _body_decoder.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _line_decoder.decode(body).body.model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
