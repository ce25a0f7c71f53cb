"""The native API's batches: a line of the input, a batch, and a line of the results."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from api.batch_upload import ParsedLine
from api.formats.native import ChatAnswer, ChatRequest, NativeMessage, asked_of
from api.formats.native_answers import json_bytes, stats
from api.formats.parsing import parse
from shared.batches import Batch, LineError, Result, State, unpack_ask
from shared.errors import InvalidRequest
from shared.job import unpack_answer
from shared.money import nano_to_usd


class BatchLine(ChatRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A line of `POST /api/batches`: a chat request with an id of the caller's own. Nothing is streamed."""

    custom_id: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of lines. What is in none of the last four has not ended."""

    total: int
    completed: int
    failed: int
    cancelled: int
    expired: int


class BatchView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch. `paused_for` is `insufficient_credit` or `key_limit`, `needed_usd` what would let it go on; `errors` are the
    first lines that were not understood, in the answer to the upload only.
    """

    id: str
    state: State
    counts: Counts
    charged_usd: str
    created_at: datetime
    started_at: datetime | None
    cancelled_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime
    paused_for: str | None
    needed_usd: str | None
    exported_to: str | None
    errors: list[LineError] = []


_decoder = msgspec.json.Decoder(BatchLine)


def parse_line(line: bytes) -> ParsedLine:
    """Raises `InvalidRequest` that names the field."""
    body = parse(line, _decoder, "A line takes custom_id, model, messages and options")
    if body.options.stream:
        raise InvalidRequest("`options.stream` is not possible in a batch: leave it out.")
    return ParsedLine(body.custom_id, asked_of(body))


def view_of(batch: Batch, errors: list[LineError] | None = None) -> BatchView:
    """As callers see it."""
    counts = {name: getattr(batch, name) for name in Counts.__struct_fields__}
    return BatchView(
        id=batch.id,
        state=batch.state,
        counts=Counts(**counts),
        charged_usd=nano_to_usd(batch.charged_nano),
        created_at=batch.created_at,
        started_at=batch.started_at,
        cancelled_at=batch.cancelled_at,
        ended_at=batch.ended_at,
        expires_at=batch.expires_at,
        paused_for=batch.paused_for,
        needed_usd=None if batch.needed_nano is None else nano_to_usd(batch.needed_nano),
        exported_to=batch.exported_to,
        errors=errors or [],
    )


def result_line(result: Result) -> bytes:
    """`{"custom_id", "status": 1, "result": {…}}` or `{"custom_id", "status": 0, "error": {…}}`, and a newline."""
    line: dict[str, Any] = {"custom_id": result.custom_id}
    if result.answer is None or result.asked is None:
        error = {"code": result.error_code, "message": result.error_message, "request_id": result.request_id}
        return json_bytes(line | {"status": 0, "error": error}) + b"\n"
    done, ask = unpack_answer(result.answer).done, unpack_ask(result.asked)
    answer = ChatAnswer(
        response=done.text or "",
        **msgspec.structs.asdict(stats(done)),
        model=ask.model,
        request=[NativeMessage(message.role, message.content) for message in ask.messages],  # type: ignore[arg-type]
    )
    return json_bytes(line | {"status": 1, "result": answer}) + b"\n"
