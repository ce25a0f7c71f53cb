"""Parses JSON bodies and queries into typed structs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec
from multidict import MultiMapping

from shared.errors import InvalidRequest
from shared.json_bounds import require_nodes
from shared.money import USD_MAX, NanoUsd, usd_to_nano
from shared.patterns import in_words

T = TypeVar("T")
FAULT_LENGTH_MAX = 400
"""Most characters of a decoder's message, which may quote a value or a name as long as the body."""


def parse(body: bytes, decoder: msgspec.json.Decoder[T], hint: str) -> T:
    """Decode a body. Raises `InvalidRequest`, which names the field and ends with `hint`, or says that the body has too
    many nodes; then nothing of it is decoded.
    """
    require_nodes("The body", body)
    with faults_refused(hint):
        return decoder.decode(body)


def parse_once(body: bytes, decoder: msgspec.json.Decoder[T], hint: str) -> T:
    """Like `parse`, for a small body in which no field may occur twice: if money or keys depend on a field, nobody should
    guess which of two values was meant.
    """
    value = parse(body, decoder, hint)
    json.loads(body, object_pairs_hook=_refuse_doubled)
    return value


def _refuse_doubled(fields: list[tuple[str, object]]) -> None:
    twice = [name for name, times in Counter(name for name, _ in fields).items() if times > 1]
    if twice:
        raise InvalidRequest(f"`{twice[0][:100]}` is given more than once.")


@contextmanager
def faults_refused(hint: str) -> Iterator[None]:
    """Surround the decoding of a body: turn its errors into `InvalidRequest`."""
    try:
        yield
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not as it should be: {_told(error)}. {hint}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON in UTF-8: {_told(error)}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def _told(error: Exception) -> str:
    """The beginning and the end of the message, where the fault and its place are."""
    told = in_words(str(error))
    if len(told) <= FAULT_LENGTH_MAX:
        return told
    return f"{told[: FAULT_LENGTH_MAX // 2]} … {told[-FAULT_LENGTH_MAX // 2 :]}"


def in_nano(field: str, amount: Decimal) -> NanoUsd:
    """Exact nano-USD of an amount in USD. Raises `InvalidRequest` for one that is too large or too fine."""
    try:
        return usd_to_nano(amount)
    except ValueError:
        raise InvalidRequest(
            f"`{field}` is an amount in USD such as 12.50, as a number or a string, at most {USD_MAX} and with at most nine"
            " decimals."
        ) from None


def in_utc(field: str, moment: datetime) -> datetime:
    """The moment in UTC. Raises `InvalidRequest` if it lies outside the calendar's years 1 to 9999 in UTC."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(f"`{field}` is a moment that the calendar does not have in UTC.") from None


def parse_query(given: MultiMapping[str], kind: type[T]) -> T:
    """The parameters of a query, each given once. Raises `InvalidRequest`, which names the wrong one. An optional field is
    `UNSET` if it is left out; with None the text `null` would be allowed.
    """
    twice = [name for name, times in Counter(given.keys()).items() if times > 1]
    if twice:
        raise InvalidRequest(f"`{twice[0][:100]}` is given more than once.")
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))  # type: ignore[arg-type]
        raise InvalidRequest(f"The query is not as it should be: {_told(error)}. It takes {known}.") from None
