"""A chat request in the project's own form, whichever API it came through, and how that API answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from api.formats.fingerprints import fingerprint_of
from shared.chat import NO_TOOLS, Chat, Message, Sampling, Tools
from shared.job import AnswerEvent, Done, Failed
from shared.lanes import ServiceTier
from shared.ledger.rows import StoredInput


class StreamForm(Protocol):
    """Writes the events of a stream in an API's form."""

    content_type: str
    keepalive: bytes | None
    """Bytes that may be sent before the first token; None if the status must wait for the first event."""
    held_bytes: int
    """Approximate bytes in memory that are kept until the end of the stream, because its last event repeats them."""

    def served_by(self, model: str) -> None:
        """Called before the first event of the answer if another model serves than the one that was announced."""

    def opening(self) -> bytes | None:
        """Bytes that are sent before the first event; None if the status must wait for the first event."""

    def render(self, sequence: int, event: AnswerEvent) -> bytes | Iterator[bytes]:
        """The bytes of one event; many bytes come as an iterator and are made while they are written."""

    def clean_end(self, event: AnswerEvent) -> bool:
        """True if the response ends normally after `event`; False if the connection is broken off, so that clients notice."""


class Form(Protocol):
    """Forms an API's answer to one request. `model` is the public name of the model that serves the request."""

    held_bytes: int
    """Bytes of the request's body that the answer repeats."""

    def answer(self, done: Done, request_id: str, model: str) -> bytes:
        """The whole answer as JSON; `done` has its text and its tool calls."""

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:
        """The writer of a stream; `accept` is the request's header."""


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """The stored parts of an earlier response: `repeated` and `input` as in `StoredInput`, and the answer, which is None if
    there is none.
    """

    request_id: str
    repeated: bytes
    input: bytes
    done: Done | None


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """The earlier responses that a body continues. `previous` is the request of the last response of a chain. `others`
    are the requests of single items that the body refers to, each with one of these items' ids. `whole` makes the
    complete request from the chain, oldest first, and the others.
    """

    previous: str | None
    others: Mapping[str, str]
    whole: Callable[[Sequence[Earlier], Mapping[str, Earlier]], Asked]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A valid chat request in the project's own form.

    `max_tokens` and `service_tier` are None if the caller left them out. `model` is the name in the body until
    `api/requests/model_names.py` replaces it by the public one; `models` are fallback models, in order. `names` maps
    `messages`, `max_tokens` and options that a model may lack to the API's own field names, for errors. `body` is the
    parsed body: requests with equal bodies ask for the same. A `tolerant` API leaves out unknown fields, and `wishes` that
    the model lacks: options, each with the fields that the caller gave them in. `ignored` are fields that were left out.
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
    """Names of fields with thoughts of earlier answers. They count as left out unless the model made all of these
    thoughts.
    """
    continues: Continuation | None = None
    """The earlier responses that the request continues; `messages` is incomplete until they are read."""
    stored_input: StoredInput | None = None
    """The part of the request that Postgres stores beside its answer; None if the response is not stored."""
    background: bool = False
    """True if the request runs on if its reader leaves."""
    at_once: Callable[[str, str], bytes] | None = None
    """Makes the answer for a caller that does not wait for the end, from the request's id and the model's name; None if
    the caller waits for the end.
    """
    failed: Callable[[Failed, str, str], bytes] | None = None
    """Makes the answer for a failed request that is looked up later, if this API does not answer it as an error; else
    None.
    """

    @property
    def chat(self) -> Chat:
        """The question to the model."""
        return Chat(self.messages, self.sampling, self.tools)

    def name_of(self, option: str) -> str:
        """The API's name of the option."""
        return self.names.get(option, option)

    def without(self, fields: Iterable[str]) -> Asked:
        """The same request with these fields added to `ignored`."""
        return msgspec.structs.replace(self, ignored=(*self.ignored, *fields))

    def fingerprint(self) -> bytes:
        """SHA-256 of the parsed body and of the API."""
        return fingerprint_of(self.body)


CUSTOM_ID_LENGTH_MAX = 256
"""Most characters of the id of a batch line."""


class ParsedLine(msgspec.Struct, frozen=True):
    """One batch line in the project's own form."""

    custom_id: str
    asked: Asked
