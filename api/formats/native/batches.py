"""The native API's batches: a line of the input, a batch, and a line of the results."""

from __future__ import annotations

from datetime import datetime

import msgspec

from api.formats.asked import ParsedLine
from api.formats.native.chat import ChatRequest, asked_of
from api.formats.parsing import parse
from shared.batches.batches import Batch, State
from shared.batches.files import LineError
from shared.errors import InvalidRequest
from shared.money import nano_to_usd


class BatchLine(ChatRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A line of `POST /api/batches`: a chat request with an id of your own. It cannot be streamed."""

    custom_id: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The batch's lines, counted by their outcome. A line that counts in `total` alone has not ended."""

    total: int
    """All lines that are not blank, those that were not understood among them."""
    completed: int
    """Lines with an answer."""
    failed: int
    """Lines with an error, those that were not understood among them."""
    cancelled: int
    """Lines that were cancelled before or while they ran."""
    expired: int
    """Lines that had not ended by their own deadline, or had not run when the batch expired."""


class BatchView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch in the native form."""

    id: str
    """The batch's id, for `/api/batches/{id}`."""
    state: State
    """The state of the batch. It has an end state only after every line is settled; `validating` is not used now."""
    counts: Counts
    """The batch's lines, counted by their outcome."""
    charged_usd: str
    """The USD charged for the batch so far, as a decimal string."""
    saved_usd: str
    """The USD that lines at the service tier `flex` have saved so far, compared with the tier `default`, as a decimal
    string.
    """
    created_at: datetime
    """The time at which the batch was created."""
    started_at: datetime | None
    """The time at which the batch's lines could first run, which is the time of its creation."""
    cancelled_at: datetime | None
    """The time at which the batch was cancelled; null if it was not."""
    ended_at: datetime | None
    """The time at which the batch's last line ended; null before."""
    expires_at: datetime
    """The time at which the batch ends, even if some of its lines have not run."""
    paused_for: str | None
    """The reason for which no more lines are started, `insufficient_credit` or `key_limit`; null while the batch is not
    paused.
    """
    needed_usd: str | None
    """The USD that must be available, of the credit or of the key's limit, for a paused batch to go on; null while it is not
    paused.
    """
    exported_to: str | None
    """The place to which the results were written as well, such as `s3://bucket/…`; null if they were not."""
    reason: str | None
    """The reason for which the service itself cancelled the batch, `key_revoked` or `key_expired`; null otherwise."""
    errors: list[LineError] = []
    """The first lines that were not understood. Only the answer to the upload lists them; otherwise the list is
    empty.
    """


_decoder = msgspec.json.Decoder(BatchLine)


def parse_line(line: bytes) -> ParsedLine:
    """Parse a line. Raises `InvalidRequest`, which names the field."""
    body = parse(line, _decoder, "A line takes custom_id, model, messages and options")
    if body.options.stream:
        raise InvalidRequest("`options.stream` is not possible in a batch: leave it out.")
    return ParsedLine(body.custom_id, asked_of(body))


def view_of(batch: Batch, errors: list[LineError] | None = None) -> BatchView:
    """The batch as callers see it."""
    counts = {name: getattr(batch, name) for name in Counts.__struct_fields__}
    return BatchView(
        id=batch.id,
        state=batch.state,
        counts=Counts(**counts),
        charged_usd=nano_to_usd(batch.charged_nano),
        saved_usd=nano_to_usd(batch.saved_nano),
        created_at=batch.created_at,
        started_at=batch.started_at,
        cancelled_at=batch.cancelled_at,
        ended_at=batch.ended_at,
        expires_at=batch.expires_at,
        paused_for=batch.paused_for,
        needed_usd=None if batch.needed_nano is None else nano_to_usd(batch.needed_nano),
        exported_to=batch.exported_to,
        reason=batch.reason,
        errors=errors or [],
    )
