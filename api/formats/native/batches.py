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
    """A line of `POST /api/batches`: a chat request with an id of the caller's own. It cannot be streamed."""

    custom_id: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The batch's lines, by how they ended. Lines that are in `total` alone have not ended."""

    total: int
    """All lines that are not blank. Those that were not understood count as failed."""
    completed: int
    """Lines with an answer."""
    failed: int
    """Lines with an error."""
    cancelled: int
    """Lines that were cancelled before they ran, or while they did."""
    expired: int
    """Lines that had not run when the batch ended."""


class BatchView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch in the native form."""

    id: str
    """The batch's id, for `/api/batches/{id}`."""
    state: State
    """Where the batch stands; an end state only after every line is settled. `validating` is not used now."""
    counts: Counts
    """Its lines, by what became of them."""
    charged_usd: str
    """What was charged for it so far."""
    saved_usd: str
    """What the lines at the service tier `flex` would have cost more without it, so far."""
    created_at: datetime
    """When the batch was made."""
    started_at: datetime | None
    """When its lines could first run: when it was made."""
    cancelled_at: datetime | None
    """When it was cancelled; null when it was not."""
    ended_at: datetime | None
    """When its last line ended; null before."""
    expires_at: datetime
    """When it ends whatever has run."""
    paused_for: str | None
    """Why no more lines are begun: `insufficient_credit` or `key_limit`; null while they are."""
    needed_usd: str | None
    """The credit that would let it go on; null while it goes on."""
    exported_to: str | None
    """Where its results were written, too; null for nowhere."""
    reason: str | None
    """Why the service cancelled it: `key_revoked` or `key_expired`; null otherwise."""
    errors: list[LineError] = []
    """The first lines that were not understood; only in the answer to the upload."""


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
