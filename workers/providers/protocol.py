"""Vendors. A provider turns one request into one vendor call and back. It knows neither stores nor queue nor ledger, and of
money only `Usage`, a count of tokens.

    request ──► provider.stream(request) ──► str, Joined, CallPiece and ThoughtPiece … Reported … Finished

The promises that `tests/conformance` holds every file of this folder to:

- text and the arguments of tool calls arrive intact, whatever the vendor's framing cuts through; of each tool call the first
  piece has its id and name, and its index is its place among the calls;
- what the model thinks comes as `ThoughtPiece`s where the request hands thoughts on and the vendor shows them, with the
  signature exactly as the vendor made it, and whole; else it is `Thinking`;
- what the vendor says of the tokens is passed on as soon as it is said, so that it survives a failure: at least one
  `Reported` in a finished answer, the last one counts;
- the tier that serves, where the model is asked for at another than its vendor's default, as soon as it is said;
- exactly one `Finished`, the last piece, and only after the API's own terminal marker;
- every failure is a `RebootError`; nothing is retried in hiding;
- keep-alives are not pieces, so that they cannot hold a limit open;
- closing the iterator, or cancelling whoever waits in it, closes the vendor's connection;
- `wire/sending.py` is told when the whole call has been sent, and when the vendor refuses it, as an HTTP redirect does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from shared.catalogue.models import Model
from shared.chat import CallPiece, Message, Sampling, Tools
from shared.money import Usage
from shared.thoughts import ThoughtPiece


class ProviderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor is asked. `stream` decides the form of the call. `output_limit` is in tokens; None in `sampling` leaves
    the vendor's default. The vendor is asked for the service tier of `model`. `footprint` is the approximate size of
    everything in bytes.
    """

    id: str
    model: Model
    messages: list[Message]
    sampling: Sampling
    output_limit: int
    stream: bool
    tools: Tools = Tools()
    footprint: int = 0


class Joined(msgspec.Struct, frozen=True):
    """Text that the vendor sent in `pieces` pieces that arrived together; each counts as at least one token. Pieces that
    were passed on as `Thinking` before are not counted again.
    """

    text: str
    pieces: int


class Thinking(msgspec.Struct, frozen=True):
    """A sign of life: the model produced something that is not part of the answer, such as its reasoning."""

    pieces: int = 1


class Reported(msgspec.Struct, frozen=True):
    """The vendor's token counts so far; None if it reported none."""

    usage: Usage | None


class UsedUp(msgspec.Struct, frozen=True):
    """The vendor's headers say that its limit is used up and full again in `reset_s` seconds; until then it takes a request
    every `next_s` seconds, if it says that. It has taken this request.
    """

    reset_s: float
    next_s: float = 0.0


class ServedAt(msgspec.Struct, frozen=True):
    """The tier at which the vendor serves: `flex`, `default`, or a word of its own. It is passed on only if a tier was
    asked for.
    """

    tier: str


class Finished(msgspec.Struct, frozen=True):
    """The vendor's terminal marker. `reason` is `stop`, `length`, `tool_calls` or `content_filter`."""

    reason: str


Piece = str | Joined | CallPiece | ThoughtPiece | Thinking | UsedUp | ServedAt | Reported | Finished


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`connections` at the same time; `connect_s` to establish one; `read_s` between two bytes; `coalesce_s`: see
    `coalescing.py`.
    """

    connections: int
    connect_s: float
    read_s: float
    coalesce_s: float = 0.0


class Provider(Protocol):
    """One or several APIs of a vendor, with one set of connections."""

    def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """Pieces as promised above. Raises only `RebootError`s."""

    async def close(self) -> None:
        """Close the connections; closing twice does no harm."""
