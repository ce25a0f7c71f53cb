"""The messages that go through Redis: the job that a front door enqueues, and the events with which a worker answers."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from shared import clock
from shared.catalogue.models import Model
from shared.chat import CallPiece, Chat, Message, Sampling, ToolCall, Tools
from shared.errors import ErrorBody, RebootError, from_body
from shared.ids import created_at
from shared.ledger.chains import Tried
from shared.ledger.settlement import ItemKey, Settlement
from shared.money import NanoUsd, Price, Usage, nano_to_usd
from shared.thoughts import Thought, ThoughtPiece

RUN_REQUEST = "run_request"
"""The name of the arq function that runs requests."""


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """A model that serves a request if the models before it have failed, at the price that was fixed at admission.
    `sampling` has the options in the form for this model; the form of the answer is the job's.
    """

    model: Model
    price: Price
    sampling: Sampling
    output_limit: int


class JobHead(msgspec.Struct, frozen=True, kw_only=True):
    """An admitted request without the question to the vendor. The catalogue's row and the prices are those of its
    admission.
    """

    id: str
    account_id: str
    model: Model
    price: Price
    stream: bool
    output_limit: int
    hold_nano: NanoUsd
    deadline_ms: int
    batch_line: ItemKey | None = None
    """The line of the batch, if the request is an item of one."""
    keep_until: datetime | None = None
    """The time until which Postgres keeps the answer; None if only the journal has it."""
    footprint: int = 0
    """The memory that the request takes, in bytes of payload (`shared/footprint.py`); a larger payload counts instead.
    """
    keeps_asked: bool = True
    """True if the messages are kept with the answer, if they are short. A stored response has them already."""
    fallbacks: tuple[Fallback, ...] = ()
    """The models that serve the request if its model has failed, in order."""
    tried: tuple[Tried, ...] = ()
    """The models of the chain that are out: those that have failed, and those that nobody served."""
    traceparent: str = ""
    """The front door's span in W3C's form (`shared/runtime/traces.py`); empty if there is none."""

    @property
    def has_chain(self) -> bool:
        """True if several models may serve the request. Then messages and tools keep all cache marks, and each model is
        sent those that it takes.
        """
        return bool(self.fallbacks or self.tried)

    @property
    def calls_before(self) -> int:
        """The number of calls of the models that were tried before."""
        return sum(one.calls for one in self.tried)

    @property
    def created_at(self) -> datetime:
        """The time in the request's id."""
        return created_at(self.id)

    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self.deadline_ms / 1000 - clock.now_s()


class Job(JobHead, frozen=True, kw_only=True):
    """An admitted request with the question to the vendor."""

    messages: list[Message]
    sampling: Sampling
    tools: Tools = Tools()

    @property
    def chat(self) -> Chat:
        """The question to the model."""
        return Chat(self.messages, self.sampling, self.tools)

    def at_next(self, tried: tuple[Tried, ...]) -> Job:
        """The job for the first fallback that was not `tried`: its model, and the fallbacks after it."""
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
    """A `Job` on its way to a worker. The part that only the worker reads is packed, so that it takes no more memory
    than its bytes.
    """

    messages: msgspec.Raw
    sampling: msgspec.Raw
    tools: msgspec.Raw

    @property
    def bytes(self) -> int:
        """Bytes of the packed part."""
        return len(self.messages) + len(self.sampling) + len(self.tools)

    def at_next(self, tried: tuple[Tried, ...]) -> PackedJob:
        """The same as `Job.at_next`."""
        empty: dict[str, Any] = {"messages": [], "sampling": _sampling_decoder.decode(self.sampling), "tools": Tools()}
        head: dict[str, Any] = {name: getattr(self, name) for name in JobHead.__struct_fields__}
        moved = Job(**head, **empty).at_next(tried)
        head = {name: getattr(moved, name) for name in JobHead.__struct_fields__}
        sampling = msgspec.Raw(_event_encoder.encode(moved.sampling))
        return PackedJob(**head, messages=self.messages, sampling=sampling, tools=self.tools)


class Served(msgspec.Struct, frozen=True, tag="s", array_like=True):
    """The first event of a request that another model than the first of its chain serves."""

    model: str


class Chunk(msgspec.Struct, frozen=True, tag="c", array_like=True):
    """Text from the model. The vendor sent it in `pieces` pieces; each counts as at least one token."""

    text: str
    pieces: int = 1


class Done(msgspec.Struct, frozen=True, tag="d", array_like=True):
    """The end of a request that succeeded. If nothing was sent before it (a JSON answer), `text`, `calls` and
    `thoughts` are the whole answer; after a stream `text` is None. `call_places` has the number of characters of text
    before each call; if it is empty, all text comes before the calls. `served_tier` is the tier that the vendor names,
    if one was asked for.
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
    """The end of a request that failed."""

    error: ErrorBody
    charged_nano: int = 0
    usage: Usage | None = None

    def as_error(self) -> RebootError:
        """The error to raise; its message says what the request cost, because a repeated request is charged again."""
        error = from_body(self.error)
        if self.charged_nano:
            error.details["charged_usd"] = nano_to_usd(self.charged_nano)
        return error


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The part of a request that Postgres keeps for a caller who may come back: the whole answer as its last event, and
    the messages of the request (None if they were too long to keep).
    """

    done: Done
    messages: list[Message] | None
    model: str | None = None
    """The model that answered, if it is not the first of the chain; else None."""


AnswerPart = Chunk | CallPiece | ThoughtPiece
"""An event before the last one."""


def bytes_of(part: AnswerPart) -> int:
    """UTF-8 bytes of the model's output in this part. The first piece of a tool call counts the tool's name. A thought
    counts its signature, which stands for the part that is not shown.
    """
    if isinstance(part, Chunk):
        return len(part.text.encode())
    if isinstance(part, ThoughtPiece):
        return len(part.text.encode()) + len((part.signature or "").encode())
    return len(part.arguments.encode()) + len((part.name or "").encode())


AnswerEvent = AnswerPart | Done | Failed
"""An event of an answer."""
Event = AnswerEvent | Served
_event_encoder = msgspec.msgpack.Encoder()
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
_sampling_decoder = msgspec.msgpack.Decoder(Sampling)
_job_decoder = msgspec.msgpack.Decoder(Job)
_answer_decoder = msgspec.msgpack.Decoder(KeptAnswer)
_settlement_decoder = msgspec.msgpack.Decoder(Settlement)


def pack(value: Event | Job | PackedJob | Settlement | KeptAnswer) -> bytes:
    """Encode as msgpack."""
    return _event_encoder.encode(value)


def unpack_event(data: bytes) -> Event:
    """Decode an event. Raises `msgspec.DecodeError` for anything else."""
    return _event_decoder.decode(data)


def unpack_job(data: bytes | memoryview) -> Job:
    """Decode a job. Raises `msgspec.DecodeError` for anything else."""
    return _job_decoder.decode(data)


def unpack_answer(data: bytes) -> KeptAnswer:
    """Decode a kept answer. Raises `msgspec.DecodeError` for anything else."""
    return _answer_decoder.decode(data)


def unpack_settlement(data: bytes) -> Settlement:
    """Decode a settlement. Raises `msgspec.DecodeError` for anything else."""
    return _settlement_decoder.decode(data)


class Sealed:
    """A payload without a readable `repr`: arq logs the `repr` of a job's arguments."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | memoryview) -> None:
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
        return Sealed(data)  # a view: a large payload is not copied
    error = bytes(data).decode()
    return asyncio.CancelledError() if error.startswith("CancelledError:") else RuntimeError(error)


_arq_encoder = msgspec.msgpack.Encoder(enc_hook=_seal)
_arq_decoder = msgspec.msgpack.Decoder(ext_hook=_unseal)


def arq_serializer(data: dict[str, Any]) -> bytes:
    """Encode arq's dictionaries of jobs and results as msgpack; pickle would let Redis run code."""
    return _arq_encoder.encode(data)


def arq_deserializer(data: bytes) -> dict[str, Any]:
    """Decode what `arq_serializer` has encoded."""
    return _arq_decoder.decode(data)  # type: ignore[no-any-return]
