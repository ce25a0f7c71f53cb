"""The native API: parses `POST /api/endpoint` and forms its answer."""

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
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """The author of the turn: `user`, `assistant` (the model), or `system` and `developer` for instructions."""
    content: str | list[Part]
    """The turn as a text, or as a list of parts: texts, and images as `data:` URLs."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a request; every field may be left out."""

    stream: bool = False
    """True sends the text as the model writes it. False by default."""
    stats: bool | None = None
    """True adds tokens and price to the answer. By default true for JSON answers and false for streams of text;
    server-sent events always end with them."""
    max_tokens: Tokens | None = None
    """The most output tokens of the answer, reasoning included; by default 4,096 (16,384 for reasoning models). The
    limit is lowered to the model's maximum and to what the account can afford; `x-output-limit` says which limit
    applies.
    """
    temperature: Temperature | None = None
    """The sampling temperature, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    top_p: Probability | None = None
    """The sampling bound `top_p`, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    stop: StopSequence | list[StopSequence] | None = None
    """One stop sequence or several. A model that takes none, or fewer, refuses them."""
    reasoning_effort: ReasoningEffort | None = None
    """One of the model's `reasoning_efforts` in `GET /api/models`; any other effort is refused."""
    service_tier: ServiceTier | None = None
    """The service tier. `flex` is slower (up to 15 minutes), at the model's flex price; a model without one answers
    with a 400. By default `default`.
    """
    models: list[str] | None = None
    """Fallback models, in order, for the case that `model` cannot be had; `x-model-served` names the model that
    answered.
    """

    @property
    def with_stats(self) -> bool:
        """True if the answer has tokens and price."""
        return not self.stream if self.stats is None else self.stats

    @property
    def sampling(self) -> Sampling:
        """The options that are sent to the vendor."""
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
    """A name or an alias of `GET /api/models`."""
    messages: Annotated[list[NativeMessage], msgspec.Meta(min_length=1, max_length=MESSAGES_CEILING)]
    """The conversation so far, oldest message first."""
    options: Options = Options()
    """Options of the request; every one may be left out."""


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `POST /api/endpoint`. With `stats: false` it has no tokens and no price."""

    response: str
    """The text that the model wrote."""
    tokens_input: int | msgspec.UnsetType = msgspec.UNSET
    """Billed input tokens, cached and written ones among them."""
    tokens_output: int | msgspec.UnsetType = msgspec.UNSET
    """Billed output tokens, reasoning ones among them."""
    price: UsdNumber | msgspec.UnsetType = msgspec.UNSET
    """The USD charged for the request."""
    model: str
    """The public name of the model that served the request."""
    request: list[NativeMessage]
    """The messages of the request, unchanged."""


class NativeForm:
    """Forms the answer as text with tokens and price. A JSON answer repeats the messages of the request, `said`,
    unchanged.
    """

    def __init__(self, options: Options, said: msgspec.Raw) -> None:
        self._options = options
        self._said = said
        self.held_bytes = len(said)

    def answer(self, done: Done, request_id: str, model: str) -> bytes:  # noqa: ARG002 - the id is in the header
        """`{"status": 1, "result": {…}}` with exactly the fields of `ChatAnswer`."""
        told = asdict(stats(done, model)) if self._options.with_stats else {"model": model}
        said = cast("list[NativeMessage]", self._said)  # msgspec writes the raw JSON text in its place
        return result_json(ChatAnswer(response=done.text or "", request=said, **told))

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:
        """Raw text, or server-sent events if the caller accepts them."""
        told = model if self._options.models else None
        if accepts(accept, EVENT_STREAM):
            return ServerSentEvents(request_id, told)
        return RawText(request_id, with_stats=self._options.with_stats, model=told)


class _Said(msgspec.Struct, frozen=True):
    """The messages of a body as undecoded JSON."""

    messages: msgspec.Raw


NOTHING_SAID = msgspec.Raw(b"[]")
_decoder = msgspec.json.Decoder(ChatRequest)
_said_decoder = msgspec.json.Decoder(_Said)


def parse_chat_request(body: bytes) -> Asked:
    """Parse a body strictly. Raises `InvalidRequest`, which names the field."""
    request = parse(body, _decoder, "It takes model, messages and options")
    return asked_of(request, NOTHING_SAID if request.options.stream else _said_decoder.decode(body).messages)


def asked_of(request: ChatRequest, said: msgspec.Raw = NOTHING_SAID) -> Asked:
    """The request in the project's own form. `said` is repeated in a JSON answer."""
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
