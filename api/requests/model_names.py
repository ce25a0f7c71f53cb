"""Which model a body means: it may say any of the model's names; what comes after that says the public one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from api.formats.asked import Asked
from shared.catalogue.models import LISTED_AT, Catalogue
from shared.errors import InvalidRequest, TooManyValues

V1_LISTED_AT = "/v1/models"


class _Body(msgspec.Struct, frozen=True):
    """As much as is needed of a body that has a fault."""

    model: str


class _Line(msgspec.Struct, frozen=True):
    """The same of a line in OpenAI's form."""

    body: _Body


_body_decoder = msgspec.json.Decoder(_Body)
_line_decoder = msgspec.json.Decoder(_Line)


def listed_at(path: str) -> str:
    """The route that lists the models, in the API that `path` belongs to."""
    return V1_LISTED_AT if path.startswith("/v1/") else LISTED_AT


def understood(body: bytes, parse: Callable[[bytes], Asked], catalogue: Catalogue, route: str) -> Asked:
    """What `body` asks for, of the model by its public name. An unknown name in a body without fault stays as it is: a repeat
    may be of a request whose model has left the catalogue; who looks the model up refuses it.
    """
    with unknown_model_first(body, catalogue, route):
        asked = parse(body)
    models = tuple(map(catalogue.public_name, asked.models))
    return msgspec.structs.replace(asked, model=catalogue.public_name(asked.model), models=models)


@contextmanager
def unknown_model_first(body: bytes, catalogue: Catalogue, route: str, *, nearest: bool = True) -> Iterator[None]:
    """Around the parsing of `body`: when it has a fault and names a model that is unknown, `ModelNotFound` is raised instead.
    Its caller is likely to have another model's fields in it.
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
    """What stands as `model` in a chat request, or in the request that a line is about."""
    try:
        return _body_decoder.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _line_decoder.decode(body).body.model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
