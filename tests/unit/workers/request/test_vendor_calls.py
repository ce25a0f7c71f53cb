from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from shared.catalogue.models import load_catalogue
from shared.chat import Caching, CallPiece, Message, Sampling
from shared.errors import AnswerTooLong
from shared.job import AnswerPart, Chunk
from shared.money import Usage
from shared.runtime.growing_room import GrowingRoom
from shared.settings import Settings
from shared.signatures import wrapped
from shared.thoughts import Thought, ThoughtPiece
from tests.harness.builders import a_job
from tests.harness.routing import routes_to
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.providers.wire.callers_faults import THOUGHTS_MEAN, ThoughtsRefused
from workers.request.billing import Received
from workers.request.incoming import BYTES_PER_PART, BYTES_PER_TOKEN_MAX, SLACK_BYTES
from workers.request.own_names import with_own_names
from workers.request.vendor_calls import VendorCalls

LIMIT = 16
"""Of the output, in tokens."""
BYTES_MAX = LIMIT * BYTES_PER_TOKEN_MAX + SLACK_BYTES


class Endless:
    """A vendor that says the same for ever."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.is_closed = False

    async def stream(self, _: ProviderRequest) -> AsyncGenerator[Piece, None]:
        try:
            while True:
                yield self.piece
        finally:
            self.is_closed = True

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "piece",
    [
        "x" * 1_000,
        "x",
        CallPiece(0, "", "x" * 10_000, "f"),
        CallPiece(0, "x"),
        CallPiece(0, "", "x", "f" * 1_000),
        ThoughtPiece(0, "x"),
    ],
    ids=["text", "single letters", "ids", "arguments", "names", "thoughts"],
)
async def test_an_answer_without_end_is_an_error_whatever_it_is_made_of(piece: Piece) -> None:
    """By its bytes, of which each part has some more than its text."""
    taken: list[AnswerPart] = []
    received = Received()
    vendor = Endless(piece)

    async def take(part: AnswerPart) -> None:
        taken.append(part)

    nobody: Any = None  # is asked for anything by an answer that is no success
    settings = Settings(database_url="", redis_url="")
    job = a_job(output_limit=LIMIT)
    room = GrowingRoom("vendor answers", total=BYTES_MAX, free=BYTES_MAX).of(job.account_id)
    calls = VendorCalls(
        job,
        routes_to(vendor, job.model.api),
        nobody,
        settings,
        received=received,
        take=take,
        forget=taken.clear,
        on_vendor_has_call=lambda _: None,
        room=room,
    )
    with pytest.raises(AnswerTooLong):
        await calls.until_one_works()
    assert vendor.is_closed
    assert BYTES_MAX / 20_000 < len(taken) <= BYTES_MAX / BYTES_PER_PART
    ids = sum(len(part.id or "") for part in taken if isinstance(part, CallPiece))
    assert received.text_bytes + ids <= BYTES_MAX + 20_000


class Forgetful:
    """A vendor that does not know its thoughts again."""

    def __init__(self) -> None:
        self.asked: list[ProviderRequest] = []

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        self.asked.append(request)
        if any(message.thoughts for message in request.messages):
            raise ThoughtsRefused(THOUGHTS_MEAN)
        yield "Yes."
        yield Reported(Usage(5, 1))
        yield Finished("stop")

    async def close(self) -> None:
        pass


class NotCancelled:
    """Redis, in which nobody has asked to abort."""

    async def zmscore(self, _: str, ids: list[str]) -> list[None]:
        return [None for _ in ids]


async def test_a_talk_goes_on_without_thoughts_that_its_vendor_refuses() -> None:
    model = load_catalogue().find("anthropic-claude-opus-5-5")
    thought = Thought("Hm.", wrapped(model, "sig", "Hm."))
    messages = [Message("user", "Hi"), Message("assistant", "Yes.", thoughts=(thought,)), Message("user", "So?")]
    sampling = Sampling(caching=Caching(key="k"))
    job = a_job(model=model, messages=messages, sampling=sampling)
    received, vendor, taken = Received(), Forgetful(), list[AnswerPart]()

    async def take(part: AnswerPart) -> None:
        taken.append(part)

    anybody: Any = NotCancelled()
    routes = routes_to(vendor, model.api, provider=model.provider)
    settings = Settings(database_url="", redis_url="")
    room = GrowingRoom("vendor answers", total=BYTES_MAX, free=BYTES_MAX).of(job.account_id)
    calls = VendorCalls(
        job,
        routes,
        anybody,
        settings,
        received=received,
        take=take,
        forget=taken.clear,
        on_vendor_has_call=lambda _: None,
        room=room,
    )
    assert await calls.until_one_works() == "stop"
    assert [[len(message.thoughts) for message in asked.messages] for asked in vendor.asked] == [[0, 1, 0], [0, 0, 0]]
    own = with_own_names(sampling, job.account_id).caching.key
    assert {asked.sampling.caching.key for asked in vendor.asked} == {own} != {"k"}
    assert (taken, received.calls, received.reported) == ([Chunk("Yes.")], 2, Usage(5, 1))
