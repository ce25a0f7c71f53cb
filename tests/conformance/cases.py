"""What is asked of which API, and what came of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar

import msgspec
import pytest

from deploy.simulator import answer, script, tools
from deploy.simulator.app import QUICK, Running
from deploy.simulator.calls import Call
from shared.answers import joined_calls, whole
from shared.catalogue.apis import by_its_api
from shared.catalogue.models import Model, load_catalogue
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import NO_TOOLS, CallPiece, Message, Sampling, Tool, ToolCall, Tools
from shared.errors import RebootError
from shared.job import AnswerPart, Chunk, Done
from shared.money import Usage
from shared.thoughts import ThoughtPiece
from shared.vendors import PROVIDERS
from workers.providers.loading import load_apis
from workers.providers.protocol import Finished, Joined, Limits, Piece, Provider, ProviderRequest, Reported
from workers.providers.wire.fitting import Fitted
from workers.providers.wire.instructions import fit
from workers.request.limits import bounded

Test = TypeVar("Test", bound=Callable[..., object])
CATALOGUE = load_catalogue()
PATIENCE_S = 20.0
LIMITS = Limits(connections=40, connect_s=PATIENCE_S, read_s=PATIENCE_S)
_ordinals = itertools.count(1)


class Case(msgspec.Struct, frozen=True):
    """One API in one form."""

    name: str
    model: Model
    stream: bool

    @property
    def api(self) -> str:
        return self.model.api

    def serving(self, sampling: Sampling, tools: Tools) -> Case:
        """With the API that serves such a request, where the model has two."""
        return msgspec.structs.replace(self, model=by_its_api(self.model, sampling, tools))

    @property
    def streams(self) -> bool:
        """Whether the vendor streams: Realtime knows no other form."""
        return self.stream or self.api == "openai-realtime"


def _case(api: str, model: str, *, stream: bool) -> Case:
    return Case(f"{api}-{'stream' if stream else 'json'}", _served(api, CATALOGUE.find(model)), stream)


def _served(api: str, model: Model) -> Model:
    """By its second API, where that is the one that is meant."""
    return msgspec.structs.replace(model, api=api, second_api=None) if api == model.second_api else model


MODELS = {
    "openai-chat": "openai-gpt-4o",
    "openai-responses": "openai-gpt-6-astra",
    "openai-realtime": "openai-gpt-4o-rt-preview",
    "deepseek-chat": "deepseek-chat",
    "bedrock-converse": "amazon-nova-lite",
    "bedrock-invoke": "cohere-command-text-v1",
    "gemini": "google-gemini-2.0-flash",
}
CASES = [_case(api, model, stream=stream) for api, model in MODELS.items() for stream in (False, True)]
CASES.append(_case("bedrock-invoke-jurassic", "a21-jurassic-2-mid", stream=False))


class Answer(msgspec.Struct):
    """The pieces of an answer by kind, in the order in which they came, and the simulator's note of the call."""

    texts: list[str] = []
    text_pieces: int = 0
    call_pieces: list[CallPiece] = []
    parts: list[AnswerPart] = []
    """All of it that callers get."""
    reported: list[Usage | None] = []
    finished: list[str] = []
    error: RebootError | None = None
    calls: list[Call] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return joined_calls(self.call_pieces)

    @property
    def message(self) -> Message:
        """As the caller sends it back."""
        done = whole(Done("", Usage(0, 0), 0), self.parts)
        return Message("assistant", done.text or "", tool_calls=done.calls, thoughts=done.thoughts)

    @property
    def call(self) -> Call:
        assert len(self.calls) == 1, "asked once, called once"
        return self.calls[0]

    def take(self, piece: Piece) -> None:
        assert not self.finished, "nothing comes after the end"
        match piece:
            case str():
                assert piece, "a piece of text is not empty"
                self.texts.append(piece)
                self.parts.append(Chunk(piece))
                self.text_pieces += 1
            case Joined(text, count):
                assert text, "a piece of text is not empty"
                self.texts.append(text)
                self.parts.append(Chunk(text))
                self.text_pieces += count
            case ThoughtPiece(index, text, signature):
                signed = {part.index for part in self.parts if isinstance(part, ThoughtPiece) and part.signature}
                assert index not in signed, "the signature of a thought is its last piece"
                assert text or signature, "a piece of a thought is not empty"
                self.parts.append(piece)
            case CallPiece(index, arguments, id, name):
                begun = {earlier.index for earlier in self.call_pieces}
                assert bool(id and name) == (index not in begun), "the first piece of a call, and no other, names it"
                assert index in begun or index == len(begun), "an index is the place among the calls"
                assert arguments or name, "a piece of a call is not empty"
                self.call_pieces.append(piece)
                self.parts.append(piece)
            case Reported(usage):
                self.reported.append(usage)
            case Finished(reason):
                assert self.reported, "the tokens are told before the end"
                self.finished.append(reason)


class Vendors:
    """The providers under test, in front of the simulator."""

    def __init__(self, simulator: Running, limits: Limits = LIMITS) -> None:
        self.simulator = simulator
        self.providers: dict[str, Provider] = {}
        for provider in PROVIDERS:
            self.providers |= load_apis(provider, environment(simulator), limits)

    async def close(self) -> None:
        for provider in {id(p): p for p in self.providers.values()}.values():
            await provider.close()

    def pieces(self, asked: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """As a worker asks: the request is fitted, and that is undone in the answer."""
        fitted = Fitted(asked)
        return fitted.undone(self.providers[asked.model.api].stream(fitted.request))

    async def ask(
        self,
        case: Case,
        directive: str = "",
        *,
        messages: tuple[Message, ...] = (),
        sampling: Sampling | None = None,
        tools: Tools = NO_TOOLS,
        after: tuple[Message, ...] = (),
        output_limit: int = 1_000,
        idle_s: float = PATIENCE_S,
        total_s: float = PATIENCE_S,
        key: str = "",
    ) -> Answer:
        """Ask once, within limits; a `RebootError` is part of the answer, anything else is a failure of the test. With a
        `key` it is a question that was asked before, with more `after` it.
        """
        key = key or new_key()
        result = Answer()
        asked = request(
            case,
            f"{directive} key={key}",
            messages=messages,
            sampling=sampling,
            tools=tools,
            after=after,
            output_limit=output_limit,
        )
        limited = bounded(self.pieces(asked), idle_s=idle_s if case.streams else None, total_s=total_s)
        try:
            async with aclosing(limited) as pieces:
                async for piece in pieces:
                    result.take(piece)
        except RebootError as error:
            result.error = error
        else:
            assert len(result.finished) == 1, "an answer without an error has an end"
        await self.simulator.calls.until(lambda log: all(call.ending for call in log.find(key)))
        result.calls = self.simulator.calls.find(key)[-1:]
        return result


def environment(simulator: Running) -> Mapping[str, str]:
    """As a worker has it."""
    return {
        "OPENAI_API_KEY": "simulated",
        "OPENAI_BASE_URL": simulator.openai,
        "DEEPSEEK_API_KEY": "simulated",
        "DEEPSEEK_BASE_URL": simulator.deepseek,
        "GEMINI_API_KEY": "simulated",
        "GOOGLE_GEMINI_BASE_URL": simulator.gemini,
        "AWS_ACCESS_KEY_ID": "simulated",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": simulator.bedrock,
    }


def new_key() -> str:
    return f"c{next(_ordinals)}"


def request(
    case: Case,
    directive: str,
    *,
    messages: tuple[Message, ...] = (),
    sampling: Sampling | None = None,
    tools: Tools = NO_TOOLS,
    after: tuple[Message, ...] = (),
    output_limit: int = 1_000,
) -> ProviderRequest:
    """A question whose last message of the user carries the directive; `after` are the calls and results behind it."""
    return ProviderRequest(
        id="req_test",
        model=case.model,
        messages=fit([*messages, Message("user", f"Hello [[sim {directive}]]"), *after], case.model),
        sampling=sampling or Sampling(),
        output_limit=output_limit,
        stream=case.stream and case.model.streams_with(tools),
        tools=tools,
    )


def expected(case: Case, directive: str, key: str) -> str:
    """What the simulator is told to say."""
    told = script.overlay(f"{directive} key={key}", QUICK)
    return "".join(answer.answer(case.model.vendor_model, "", told))


def cut_after(case: Case, tokens: int) -> tuple[str, int]:
    """What to direct, and the output limit, so that it cuts an answer off after so many tokens: thoughts use up the rest of a
    limit that has to be larger.
    """
    limit = max(tokens, vendor_limits(case.model).output_tokens_min)
    return f"reasoning={limit - tokens}", limit


def expected_arguments(tool: Tool, directive: str) -> str:
    """What the simulator is told to call a tool with."""
    return tools.arguments(tools.Offer(tool.name, tool.parameters or {}), script.overlay(directive, QUICK))


def promise(words: str) -> Callable[[Test], Test]:
    """Name what a test proves of an API: a row of the table."""

    def name(test: Test) -> Test:
        test.__dict__["promise"] = words
        return test

    return name


def over(*cases: Case) -> pytest.MarkDecorator:
    """Run over these cases, or over all."""
    chosen = cases or tuple(CASES)
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def streaming() -> pytest.MarkDecorator:
    """Run over every case in which the vendor streams."""
    return over(*(case for case in CASES if case.streams))


def of(*apis: str) -> pytest.MarkDecorator:
    """Run over both forms of these APIs."""
    return over(*(case for case in CASES if case.api in apis))
