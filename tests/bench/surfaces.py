"""The APIs that are asked: how a question is put, and how an answer is checked, byte by byte."""

from __future__ import annotations

from typing import Protocol

import msgspec

from tests.bench.mock import TEXT, TOKENS_IN, TOKENS_OUT

FIRST_WORD = TEXT.split(" ", 1)[0].encode()


class WrongAnswerError(Exception):
    """An answer is not the one that the mock gave: the run is worth nothing."""


class Surface(Protocol):
    """One API."""

    name: str
    path: str

    def body(self, model: str, prompt: str, *, stream: bool) -> bytes:
        """The request's body."""

    def check_json(self, body: bytes) -> None:
        """Raises unless it is the mock's whole answer."""

    def check_stream(self, body: bytes) -> None:
        """Raises unless it is the mock's whole answer with its end."""


class _Text(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Text = msgspec.field(default_factory=_Text)
    delta: _Text = msgspec.field(default_factory=_Text)
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Result(msgspec.Struct):
    response: str
    tokens_input: int
    tokens_output: int
    price: float


class _Part(msgspec.Struct):
    text: str = ""


class _Item(msgspec.Struct):
    content: list[_Part] = []


class _ResponseUsage(msgspec.Struct):
    input_tokens: int
    output_tokens: int


class _Response(msgspec.Struct):
    status: str
    output: list[_Item]
    usage: _ResponseUsage | None = None


class _ResponseEvent(msgspec.Struct):
    type: str
    delta: str = ""
    response: _Response | None = None


class _Native(msgspec.Struct):
    status: int
    result: _Result


_completion = msgspec.json.Decoder(_Completion)
_native = msgspec.json.Decoder(_Native)
_response = msgspec.json.Decoder(_Response)
_response_event = msgspec.json.Decoder(_ResponseEvent)


class OpenAI:
    """`POST /v1/chat/completions`: what every peer speaks."""

    name = "openai"
    path = "/v1/chat/completions"

    def body(self, model: str, prompt: str, *, stream: bool) -> bytes:
        """A stream asks for its usage, because who meters needs it."""
        question = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 200}
        asked_for = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        return msgspec.json.encode({**question, **asked_for})

    def check_json(self, body: bytes) -> None:
        """Text, finish reason and usage."""
        answer = _completion.decode(body)
        _require(answer.choices[0].message.content == TEXT, body)
        _require(answer.choices[0].finish_reason == "stop", body)
        _require(answer.usage == _Usage(TOKENS_IN, TOKENS_OUT), body)

    def check_stream(self, body: bytes) -> None:
        """All deltas joined, a finish reason, the usage, `[DONE]` last."""
        *events, done = [line[5:].strip() for line in body.split(b"\n") if line.startswith(b"data:")]
        chunks = [_completion.decode(event) for event in events]
        choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
        _require(done == b"[DONE]", body)
        _require("".join(choice.delta.content or "" for choice in choices) == TEXT, body)
        _require(any(choice.finish_reason == "stop" for choice in choices), body)
        _require(any(chunk.usage == _Usage(TOKENS_IN, TOKENS_OUT) for chunk in chunks), body)


class Native:
    """`POST /api/endpoint`: JSON, or raw text."""

    name = "native"
    path = "/api/endpoint"

    def body(self, model: str, prompt: str, *, stream: bool) -> bytes:
        """As the contract says."""
        options = {"max_tokens": 200, "stream": stream}
        return msgspec.json.encode(
            {"model": model, "messages": [{"role": "user", "content": prompt}], "options": options}
        )

    def check_json(self, body: bytes) -> None:
        """Text, tokens, and a price."""
        result = _native.decode(body).result
        _require((result.response, result.tokens_input, result.tokens_output) == (TEXT, TOKENS_IN, TOKENS_OUT), body)
        _require(result.price > 0, body)

    def check_stream(self, body: bytes) -> None:
        """Nothing but the text."""
        _require(body == TEXT.encode(), body)


class Responses:
    """`POST /v1/responses`: OpenAI's newer API, as its clients call it: with what is stored of it unless `store` is false."""

    path = "/v1/responses"

    def __init__(self, name: str, *, store: bool) -> None:
        self.name = name
        self._store = store

    def body(self, model: str, prompt: str, *, stream: bool) -> bytes:
        """A text as the input."""
        asked = {"model": model, "input": prompt, "max_output_tokens": 200, "stream": stream, "store": self._store}
        return msgspec.json.encode(asked)

    def check_json(self, body: bytes) -> None:
        """Status, text and usage."""
        self._check(_response.decode(body), body)

    def check_stream(self, body: bytes) -> None:
        """All deltas joined, and the whole response at the end."""
        events = [_response_event.decode(line[5:]) for line in body.split(b"\n") if line.startswith(b"data:")]
        _require("".join(event.delta for event in events) == TEXT, body)
        _require(events[-1].type == "response.completed", body)
        self._check(events[-1].response, body)

    @staticmethod
    def _check(response: _Response | None, body: bytes) -> None:
        if response is None:
            raise WrongAnswerError(f"no response: {body[:500]!r}")
        _require(response.status == "completed", body)
        _require("".join(part.text for item in response.output for part in item.content) == TEXT, body)
        _require(response.usage == _ResponseUsage(TOKENS_IN, TOKENS_OUT), body)


SURFACES: dict[str, Surface] = {
    "openai": OpenAI(),
    "native": Native(),
    "responses": Responses("responses", store=False),
    "responses-stored": Responses("responses-stored", store=True),
}


class Checker:
    """Checks every answer of one target: equal to one that was checked, or checked itself."""

    def __init__(self, surface: Surface, *, stream: bool) -> None:
        self._check = surface.check_stream if stream else surface.check_json
        self._good = b""

    def check(self, status: int, body: bytes) -> None:
        """Raises `WrongAnswerError`."""
        _require(status == 200, body, f"status {status}")
        if body != self._good:
            try:
                self._check(body)
            except (msgspec.DecodeError, ValueError, IndexError) as error:
                raise WrongAnswerError(f"{error}: {body[:500]!r}") from error
            self._good = body


def _require(holds: bool, body: bytes, what: str = "not the mock's answer") -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise WrongAnswerError(f"{what}: {body[:500]!r} … {body[-200:]!r}")
