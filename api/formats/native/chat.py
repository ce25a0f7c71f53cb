"""The native API: what `POST /api/endpoint` takes."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import msgspec
from msgspec.structs import asdict

from api.formats.asked import Asked, StreamForm
from api.formats.native.answers import result_json, stats
from api.formats.native.streams import RawText, ServerSentEvents
from api.formats.parsing import parse
from api.http.reading import EVENT_STREAM, accepts
from shared.chat import (
    MESSAGES_CEILING,
    Message,
    Part,
    Probability,
    ReasoningEffort,
    Sampling,
    StopSequence,
    Temperature,
    Tokens,
)
from shared.job import Done
from shared.lanes import ServiceTier
from shared.money import UsdNumber

NAMES = {
    "max_tokens": "options.max_tokens",
    "temperature": "options.temperature",
    "top_p": "options.top_p",
    "stop": "options.stop",
    "reasoning_effort": "options.reasoning_effort",
    "service_tier": "options.service_tier",
    "models": "options.models",
}


class NativeMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn: `content` is a string or a list of parts."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who said it."""
    content: str | list[Part]
    """A text, or a list of parts: texts and images as `data:` URLs."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All optional. `stats` is true for JSON answers and false for streams unless given; `reasoning_effort` is one of the
    model's `reasoning_efforts`. `service_tier` of `flex` costs the model's price `flex`, and may take 15 minutes. `models`
    are others to fall back on, in order, when the one that is asked cannot be had.
    """

    stream: bool = False
    stats: bool | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    stop: StopSequence | list[StopSequence] | None = None
    reasoning_effort: ReasoningEffort | None = None
    service_tier: ServiceTier | None = None
    models: list[str] | None = None

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
    """A name or an alias of GET /api/models."""
    messages: Annotated[list[NativeMessage], msgspec.Meta(min_length=1, max_length=MESSAGES_CEILING)]
    """The talk so far, oldest first."""
    options: Options = Options()
    """How it is to be answered; all of it may be left out."""


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`stats: false` leaves out tokens and price. `request` is what was asked, `model` the public name of the
    model that served it.
    """

    response: str
    """The text that the model wrote."""
    tokens_input: int | msgspec.UnsetType = msgspec.UNSET
    """Billed tokens of the question, cached ones among them."""
    tokens_output: int | msgspec.UnsetType = msgspec.UNSET
    """Billed tokens of the answer, reasoning ones among them."""
    price: UsdNumber | msgspec.UnsetType = msgspec.UNSET
    """USD that were charged."""
    model: str
    """The public name of the model that served it."""
    request: list[NativeMessage]
    """The messages as they came."""


class NativeForm:
    """Text with its tokens and its price. A JSON answer repeats the messages, `said`, as they came."""

    def __init__(self, options: Options, said: msgspec.Raw) -> None:
        self._options = options
        self._said = said
        self.held_bytes = len(said)

    def answer(self, done: Done, request_id: str, model: str) -> bytes:  # noqa: ARG002 - the id is in the header
        """`{"status": 1, "result": {…}}` with exactly the contract's fields."""
        told = asdict(stats(done, model)) if self._options.with_stats else {"model": model}
        said = cast("list[NativeMessage]", self._said)  # which JSON text is put in the place of
        return result_json(ChatAnswer(response=done.text or "", request=said, **told))

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:
        """Text as it comes, or server-sent events for who accepts them."""
        told = model if self._options.models else None
        if accepts(accept, EVENT_STREAM):
            return ServerSentEvents(request_id, told)
        return RawText(request_id, with_stats=self._options.with_stats, model=told)


class _Said(msgspec.Struct, frozen=True):
    """The messages of a body, as the text that they are."""

    messages: msgspec.Raw


NOTHING_SAID = msgspec.Raw(b"[]")
_decoder = msgspec.json.Decoder(ChatRequest)
_said_decoder = msgspec.json.Decoder(_Said)


def parse_chat_request(body: bytes) -> Asked:
    """Strict: raises `InvalidRequest` that names the field."""
    request = parse(body, _decoder, "It takes model, messages and options")
    return asked_of(request, NOTHING_SAID if request.options.stream else _said_decoder.decode(body).messages)


def asked_of(request: ChatRequest, said: msgspec.Raw = NOTHING_SAID) -> Asked:
    """In the project's own words. `said` is for a JSON answer."""
    return Asked(
        model=request.model,
        messages=[Message(message.role, message.content) for message in request.messages],
        sampling=request.options.sampling,
        stream=request.options.stream,
        max_tokens=request.options.max_tokens,
        service_tier=request.options.service_tier,
        models=tuple(request.options.models or ()),
        form=NativeForm(request.options, said),
        names=NAMES,
        body=request,
    )
