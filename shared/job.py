"""What crosses Redis: the job that a front door enqueues, and the events that a worker answers with."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from shared import clock
from shared.catalogue.models import Model
from shared.chat import CallPiece, Message, Sampling, ToolCall, Tools
from shared.errors import ErrorBody, RebootError, from_body
from shared.ids import created_at
from shared.ledger.chains import Tried
from shared.ledger.rows import BatchLine, Settlement
from shared.money import NanoUsd, Price, Usage, nano_to_usd
from shared.thoughts import Thought, ThoughtPiece

RUN_REQUEST = "run_request"
"""The name of the one arq function that runs requests."""


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """A model that serves a request when those before it have failed, at the price that was pinned when it was admitted.
    `sampling` is as this model is asked, but for the form of the answer, which is the job's.
    """

    model: Model
    price: Price
    sampling: Sampling
    output_limit: int


class JobHead(msgspec.Struct, frozen=True, kw_only=True):
    """An admitted request without what the vendor is asked. The catalogue row and the prices are those in force when it was
    admitted.
    """

    id: str
    account_id: str
    model: Model
    price: Price
    stream: bool
    output_limit: int
    hold_nano: NanoUsd
    deadline_ms: int
    batch_line: BatchLine | None = None
    """Of a request that is an item of a batch."""
    keep_until: datetime | None = None
    """Until when the answer is kept in Postgres; None leaves it in the journal only."""
    footprint: int = 0
    """What it takes in memory (`shared/footprint.py`); a payload that has more bytes takes these."""
    keeps_asked: bool = True
    """Whether what was asked is kept with it, if it is short. It is kept already where it can be gone on from."""
    fallbacks: tuple[Fallback, ...] = ()
    """What serves it when its model has failed, in order."""
    tried: tuple[Tried, ...] = ()
    """The models before this one, which have failed."""
    traceparent: str = ""
    """Of the front door's span (`shared/runtime/traces.py`); empty where it makes none."""

    @property
    def has_chain(self) -> bool:
        """Whether more than one model may serve it. Then its messages and tools have all marks for caches, of which each
        model is sent those that it takes.
        """
        return bool(self.fallbacks or self.tried)

    @property
    def calls_before(self) -> int:
        """Of the vendors of the models before this one."""
        return sum(one.calls for one in self.tried)

    @property
    def created_at(self) -> datetime:
        """The time in the id."""
        return created_at(self.id)

    def left_s(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline_ms / 1000 - clock.now_s()


class Job(JobHead, frozen=True, kw_only=True):
    """An admitted request."""

    messages: list[Message]
    sampling: Sampling
    tools: Tools = Tools()

    def at_next(self, tried: tuple[Tried, ...]) -> Job:
        """The same for the first fallback that is not among those that were `tried`: its own model, and any behind it."""
        fallback, *others = self.fallbacks[len(tried) - 1 :]
        return msgspec.structs.replace(
            self,
            model=fallback.model,
            price=fallback.price,
            sampling=msgspec.structs.replace(fallback.sampling, json_answer=self.sampling.json_answer),
            output_limit=fallback.output_limit,
            fallbacks=tuple(others),
            tried=(*self.tried, *tried),
        )


class PackedJob(JobHead, frozen=True, kw_only=True):
    """A `Job` on its way to a worker. What only the worker reads is packed already, so that it takes as much memory as it has
    bytes.
    """

    messages: msgspec.Raw
    sampling: msgspec.Raw
    tools: msgspec.Raw

    @property
    def bytes(self) -> int:
        """Of what is packed."""
        return len(self.messages) + len(self.sampling) + len(self.tools)

    def at_next(self, tried: tuple[Tried, ...]) -> PackedJob:
        """As `Job.at_next`."""
        empty: dict[str, Any] = {"messages": [], "sampling": _sampling_decoder.decode(self.sampling), "tools": Tools()}
        head: dict[str, Any] = {name: getattr(self, name) for name in JobHead.__struct_fields__}
        moved = Job(**head, **empty).at_next(tried)
        head = {name: getattr(moved, name) for name in JobHead.__struct_fields__}
        sampling = msgspec.Raw(_event_encoder.encode(moved.sampling))
        return PackedJob(**head, messages=self.messages, sampling=sampling, tools=self.tools)


class Served(msgspec.Struct, frozen=True, tag="s", array_like=True):
    """The first event of a request that another model serves than the one that was asked for first."""

    model: str


class Chunk(msgspec.Struct, frozen=True, tag="c", array_like=True):
    """Text as it came from the model, in `pieces` pieces: a token at least each."""

    text: str
    pieces: int = 1


class Done(msgspec.Struct, frozen=True, tag="d", array_like=True):
    """The end of a request that succeeded. `text`, `calls` and `thoughts` are the whole answer when nothing was sent before
    (a JSON answer); of a stream `text` is None. `call_places` says how many characters of the text stand before each call; it
    is empty where all of them do. `served_tier` is the vendor's word, where a tier was asked for.
    """

    finish_reason: str
    usage: Usage
    charged_nano: int
    text: str | None = None
    calls: tuple[ToolCall, ...] = ()
    call_places: tuple[int, ...] = ()
    served_tier: str | None = None
    thoughts: tuple[Thought, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="e", array_like=True):
    """The end of a request that did not."""

    error: ErrorBody
    charged_nano: int = 0
    usage: Usage | None = None

    def as_error(self) -> RebootError:
        """Raise-able, and says what it cost: whoever asks again pays again."""
        error = from_body(self.error)
        if self.charged_nano:
            error.details["charged_usd"] = nano_to_usd(self.charged_nano)
        return error


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What Postgres keeps of a request whose caller may come back later: the whole answer as the last event of a JSON
    answer, and what was asked (None when it was too long to keep).
    """

    done: Done
    messages: list[Message] | None
    model: str | None = None
    """The one that gave it, where that is not the one that was asked for first."""


AnswerPart = Chunk | CallPiece | ThoughtPiece
"""What comes before the end."""


def bytes_of(part: AnswerPart) -> int:
    """UTF-8 bytes of what the model wrote; a piece that only begins a tool call counts its name, a thought its signature,
    which stands for what is not shown of it.
    """
    if isinstance(part, Chunk):
        return len(part.text.encode())
    if isinstance(part, ThoughtPiece):
        return len(part.text.encode()) + len((part.signature or "").encode())
    return len(part.arguments.encode()) + len((part.name or "").encode())


AnswerEvent = AnswerPart | Done | Failed
"""What is told of an answer."""
Event = AnswerEvent | Served
_event_encoder = msgspec.msgpack.Encoder()
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
_sampling_decoder = msgspec.msgpack.Decoder(Sampling)
_job_decoder = msgspec.msgpack.Decoder(Job)
_answer_decoder = msgspec.msgpack.Decoder(KeptAnswer)
_settlement_decoder = msgspec.msgpack.Decoder(Settlement)


def pack(value: Event | Job | PackedJob | Settlement | KeptAnswer) -> bytes:
    """As msgpack."""
    return _event_encoder.encode(value)


def unpack_event(data: bytes) -> Event:
    """Raises `msgspec.DecodeError` for anything else."""
    return _event_decoder.decode(data)


def unpack_job(data: bytes) -> Job:
    """Raises `msgspec.DecodeError` for anything else."""
    return _job_decoder.decode(data)


def unpack_answer(data: bytes) -> KeptAnswer:
    """Raises `msgspec.DecodeError` for anything else."""
    return _answer_decoder.decode(data)


def unpack_settlement(data: bytes) -> Settlement:
    """Raises `msgspec.DecodeError` for anything else."""
    return _settlement_decoder.decode(data)


class Sealed:
    """A payload that arq carries but never shows: arq logs the `repr` of a job's arguments."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"<{len(self.data)} bytes>"


_SEALED, _ERROR = 1, 2


def _seal(value: object) -> msgspec.msgpack.Ext:
    if isinstance(value, Sealed):
        return msgspec.msgpack.Ext(_SEALED, value.data)
    if isinstance(value, BaseException):
        return msgspec.msgpack.Ext(_ERROR, f"{type(value).__name__}: {value}".encode())
    raise NotImplementedError(f"{type(value).__name__} cannot cross the queue")


def _unseal(code: int, data: memoryview) -> object:
    if code == _SEALED:
        return Sealed(bytes(data))
    error = bytes(data).decode()
    return asyncio.CancelledError() if error.startswith("CancelledError:") else RuntimeError(error)


_arq_encoder = msgspec.msgpack.Encoder(enc_hook=_seal)
_arq_decoder = msgspec.msgpack.Decoder(ext_hook=_unseal)


def arq_serializer(data: dict[str, Any]) -> bytes:
    """Arq's job and result dictionaries as msgpack; never pickle, which would let Redis run code."""
    return _arq_encoder.encode(data)


def arq_deserializer(data: bytes) -> dict[str, Any]:
    """The other way round."""
    return _arq_decoder.decode(data)  # type: ignore[no-any-return]
