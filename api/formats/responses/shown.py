"""Shows a stored response again."""

from __future__ import annotations

import msgspec

from api.formats.responses.answers import Outcome, outcome_of, output_of
from api.formats.responses.chat import rendered
from api.formats.responses.errors import failure_of
from api.formats.responses.objects import OutputItem, Repeated
from api.formats.responses.streams import ResponseEvents
from shared.errors import ErrorBody
from shared.job import Done

_repeated: msgspec.json.Decoder[Repeated] = msgspec.json.Decoder(Repeated)


def response_json(
    repeats: bytes, request_id: str, model: str, state: str, done: Done | None, error: ErrorBody | None
) -> bytes:
    """The response as JSON. `state` is the state of its request; `done` is its answer as far as there is one."""
    repeated = _repeated.decode(repeats)
    return rendered(repeated, request_id, model, _outcome(repeated, request_id, state, done, error))


def stream_again(repeats: bytes, request_id: str, model: str, after: int, *, anew: bool = False) -> ResponseEvents:
    """The response's events after number `after`. `anew` has the same meaning as in `ResponseEvents`."""
    return ResponseEvents(_repeated.decode(repeats), request_id, model, after=after, anew=anew)


def _outcome(repeated: Repeated, request_id: str, state: str, done: Done | None, error: ErrorBody | None) -> Outcome:
    match state:
        case "queued":
            return Outcome(status="queued")
        case "running":
            return Outcome(status="in_progress")
        case "succeeded" if done is not None:
            return outcome_of(done, request_id, repeated)
    output: list[OutputItem] = []
    if done is not None:
        output = output_of(
            done, request_id, repeated.kinds, encrypted=repeated.encrypted, last="incomplete", broken_off=True
        )
    usage = done.usage if done is not None and done.usage.input else None
    if state == "cancelled":
        return Outcome(status="cancelled", output=output, usage=usage)
    return Outcome(status="failed", output=output, usage=usage, error=failure_of(error) if error else None)
