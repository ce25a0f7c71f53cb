from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from shared.chat import CallPiece
from shared.errors import AnswerTooLong
from shared.job import AnswerPart
from shared.runtime.growing_room import GrowingRoom
from shared.settings import Settings
from tests.harness.builders import a_job
from workers.providers.protocol import Piece, ProviderRequest
from workers.request.billing import Received
from workers.request.vendor_calls import BYTES_PER_PART, BYTES_PER_TOKEN_MAX, SLACK_BYTES, VendorCalls

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
    ["x" * 1_000, "x", CallPiece(0, "", "x" * 10_000, "f"), CallPiece(0, "x"), CallPiece(0, "", "x", "f" * 1_000)],
    ids=["text", "single letters", "ids", "arguments", "names"],
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
    calls = VendorCalls(job, {job.model.api: vendor}, nobody, nobody, settings, received, take, lambda _: None, room)
    with pytest.raises(AnswerTooLong):
        await calls.until_one_works()
    assert vendor.is_closed
    assert BYTES_MAX / 20_000 < len(taken) <= BYTES_MAX / BYTES_PER_PART
    ids = sum(len(part.id or "") for part in taken if isinstance(part, CallPiece))
    assert received.text_bytes + ids <= BYTES_MAX + 20_000
