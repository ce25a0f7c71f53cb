"""The native API: what `POST /api/endpoint` takes."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec.structs import asdict

from api.formats.asked import Asked, StreamForm
from api.formats.native.answers import result_json, stats
from api.formats.native.streams import RawText, ServerSentEvents
from api.formats.parsing import parse
from api.http.reading import EVENT_STREAM, accepts
from shared.chat import Message, Part, Probability, ReasoningEffort, Sampling, StopSequence, Temperature, Tokens
from shared.job import Done
from shared.money import UsdNumber

NAMES = {
    "max_tokens": "options.max_tokens",
    "temperature": "options.temperature",
    "top_p": "options.top_p",
    "stop": "options.stop",
    "reasoning_effort": "options.reasoning_effort",
}


class NativeMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn: `content` is a string or a list of parts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All optional. `stats` is true for JSON answers and false for streams unless given; `reasoning_effort` is one of the
    model's `reasoning_efforts`.
    """

    stream: bool = False
    stats: bool | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    stop: StopSequence | list[StopSequence] | None = None
    reasoning_effort: ReasoningEffort | None = None

    @property
    def with_stats(self) -> bool:
        """Whether tokens and price are wanted."""
        return not self.stream if self.stats is None else self.stats

    @property
    def sampling(self) -> Sampling:
        """What concerns the vendor."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(stop),
            reasoning_effort=self.reasoning_effort,
        )


class ChatRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /api/endpoint`."""

    model: str
    messages: Annotated[list[NativeMessage], msgspec.Meta(min_length=1)]
    options: Options = Options()


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`stats: false` leaves out tokens and price. `request` is what was asked, `model` the public name of the
    model that was asked for.
    """

    response: str
    tokens_input: int | msgspec.UnsetType = msgspec.UNSET
    tokens_output: int | msgspec.UnsetType = msgspec.UNSET
    price: UsdNumber | msgspec.UnsetType = msgspec.UNSET
    model: str
    request: list[NativeMessage]


class NativeForm:
    """Text with its tokens and its price."""

    def __init__(self, body: ChatRequest) -> None:
        self._body = body

    def answer(self, done: Done, request_id: str, model: str) -> bytes:  # noqa: ARG002 - the id is in the header
        """`{"status": 1, "result": {…}}` with exactly the contract's fields."""
        told = asdict(stats(done)) if self._body.options.with_stats else {}
        result = ChatAnswer(response=done.text or "", model=model, request=self._body.messages, **told)
        return result_json(result)

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:  # noqa: ARG002 - a stream says text only
        """Text as it comes, or server-sent events for who accepts them."""
        if accepts(accept, EVENT_STREAM):
            return ServerSentEvents(request_id)
        return RawText(request_id, with_stats=self._body.options.with_stats)


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_chat_request(body: bytes) -> Asked:
    """Strict: raises `InvalidRequest` that names the field."""
    return asked_of(parse(body, _decoder, "It takes model, messages and options"))


def asked_of(request: ChatRequest) -> Asked:
    """In the project's own words."""
    return Asked(
        model=request.model,
        messages=[Message(message.role, message.content) for message in request.messages],
        sampling=request.options.sampling,
        stream=request.options.stream,
        max_tokens=request.options.max_tokens,
        form=NativeForm(request),
        names=NAMES,
        body=request,
    )
