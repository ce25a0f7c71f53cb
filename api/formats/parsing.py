"""JSON bodies, strictly typed."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from shared.errors import InvalidRequest

T = TypeVar("T")


def parse(body: bytes, decoder: msgspec.json.Decoder[T], hint: str) -> T:
    """The body as what `decoder` takes; raises `InvalidRequest` that names the field and ends with `hint`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not as it should be: {error}. {hint}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON in UTF-8: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
