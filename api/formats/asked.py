"""What a chat request asks for, whichever API it came through, and how that API answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from api.formats.fingerprints import fingerprint_of
from shared.chat import NO_TOOLS, Message, Sampling, Tools
from shared.job import AnswerEvent, Done, Failed
from shared.lanes import ServiceTier
from shared.ledger.rows import KeptInput


class StreamForm(Protocol):
    """How events look on the wire."""

    content_type: str
    keepalive: bytes | None
    """What may be sent before the first token; None when the status must wait for it."""
    held_bytes: int
    """About what it takes in memory so far, because its end repeats it."""

    def served_by(self, model: str) -> None:
        """Another model serves than was said: told before the first event of the answer."""

    def opening(self) -> bytes | None:
        """What is sent before the first event; None when the status must wait for that."""

    def render(self, sequence: int, event: AnswerEvent) -> bytes | Iterator[bytes]:
        """The bytes of one event; where they are many, made piece by piece as they are written."""

    def clean_end(self, event: AnswerEvent) -> bool:
        """True if the response ends normally after `event`; False if the connection is broken off, so that clients notice."""


class Form(Protocol):
    """How one API answers one request. `model` is the public name of the model that serves it."""

    held_bytes: int
    """Of the request's body, which the answer repeats."""

    def answer(self, done: Done, request_id: str, model: str) -> bytes:
        """The whole answer as JSON; `done` has its text and its tool calls."""

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:
        """How the events of a stream look on the wire; `accept` is the request's header."""


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an earlier response: `told` and `input` as in `KeptInput`, and the answer, None where there is none."""

    request_id: str
    told: bytes
    input: bytes
    done: Done | None


class GoesOn(msgspec.Struct, frozen=True, kw_only=True):
    """That a body goes on from earlier responses: `previous` is the request of the last one of a chain, `others` are requests
    of which single items are named, each with the id of one of these. `whole` is what is asked then; it is given the chain,
    the oldest first, and the others.
    """

    previous: str | None
    others: Mapping[str, str]
    whole: Callable[[Sequence[Earlier], Mapping[str, Earlier]], Asked]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A valid body, in the project's own words. `max_tokens` and `service_tier` are None when the caller left them out.

    `model` is a name as the body says it, until `api/requests/model_names.py` puts the public one there; `models` are others
    to fall back on, in order.
    `names` are the API's own names of fields, for errors: of `messages`, `max_tokens` and the options that a model may lack.
    `body` is what was parsed: two requests with equal bodies ask for the same.

    An API that is `tolerant` leaves out what nothing here knows, or what the model lacks of the `wishes`: options, each with
    the fields that the caller wrote them in. `ignored` are the fields that were left out.
    """

    model: str
    messages: list[Message]
    sampling: Sampling = Sampling()
    tools: Tools = NO_TOOLS
    stream: bool = False
    max_tokens: int | None = None
    metadata: dict[str, str] | None = None
    service_tier: ServiceTier | None = None
    models: tuple[str, ...] = ()
    form: Form
    names: Mapping[str, str]
    body: msgspec.Struct
    tolerant: bool = False
    wishes: Mapping[str, tuple[str, ...]] = {}
    ignored: tuple[str, ...] = ()
    thoughts: tuple[str, ...] = ()
    """The fields in which thoughts of earlier answers come back: left out where the model has not made all of them."""
    goes_on: GoesOn | None = None
    """The earlier responses that the request goes on from; `messages` are not known until those have been read."""
    kept: KeptInput | None = None
    """What Postgres keeps of the request beside its answer; None keeps nothing."""
    background: bool = False
    """Whether the request runs on when its reader leaves."""
    at_once: Callable[[str, str], bytes] | None = None
    """Makes the answer for a caller who does not wait for the end, from the request's id and the model's name."""
    failed: Callable[[Failed, str, str], bytes] | None = None
    """Makes the answer of a request that has failed, where that is no error to who asks for it again."""

    def name_of(self, option: str) -> str:
        """What this API calls it."""
        return self.names.get(option, option)

    def without(self, fields: Iterable[str]) -> Asked:
        """The same with these fields, too, left out."""
        return msgspec.structs.replace(self, ignored=(*self.ignored, *fields))

    def fingerprint(self) -> bytes:
        """SHA-256 of the parsed body and of the API that it came through."""
        return fingerprint_of(self.body)


CUSTOM_ID_LENGTH_MAX = 256
"""Characters of the id of a batch's line."""


class ParsedLine(msgspec.Struct, frozen=True):
    """One line, in the project's own words."""

    custom_id: str
    asked: Asked
