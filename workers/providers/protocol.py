"""The protocol of all providers. A provider turns one request into one vendor call, and the vendor's answer into pieces. It
knows neither stores nor queue nor ledger, and of money only `Usage`, a count of tokens.

    request ──► provider.stream(request) ──► str, Joined, CallPiece and ThoughtPiece … Reported … Finished

`tests/conformance` tests these promises for every file of this folder:

- text and the arguments of tool calls arrive intact, wherever the vendor's framing cuts them; the first piece of each tool
  call has its id and name, and its index is its place among the calls;
- thoughts come as `ThoughtPiece`s if the request hands thoughts on and the vendor shows them, with the signature unchanged
  and whole; otherwise they come as `Thinking`;
- the vendor's token counts are passed on as soon as they arrive, so that they survive a failure: a finished answer has at
  least one `Reported`, and the last one counts;
- the tier that serves is passed on as soon as the vendor names it, if the model is asked for at another tier than the
  vendor's default;
- there is exactly one `Finished`, the last piece, and it comes only after the API's own terminal marker;
- every failure is a `RebootError`, and a provider never repeats a call by itself;
- keep-alives are no pieces, so they cannot extend a limit;
- closing the iterator, or cancelling whoever waits in it, closes the vendor's connection;
- `wire/sending.py` is told when the whole call has been sent, and when the vendor refuses it; an HTTP redirect is a refusal.
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
    """A request to a vendor. `stream` decides the form of the call. `output_limit` is in tokens; None in `sampling`
    leaves the vendor's default. The vendor is asked for the service tier of `model`. `footprint` is the approximate
    size of everything in bytes.
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
    """A sign of life: the model produced something that is not part of the answer, such as reasoning."""

    pieces: int = 1


class Reported(msgspec.Struct, frozen=True):
    """The vendor's token counts so far; None if it reported none."""

    usage: Usage | None


class UsedUp(msgspec.Struct, frozen=True):
    """The vendor's headers say that its limit is used up, and will be full again in `reset_s` seconds. Until then the
    vendor takes a request every `next_s` seconds, if the headers say so. The vendor has taken this request.
    """

    reset_s: float
    next_s: float = 0.0


class ServedAt(msgspec.Struct, frozen=True):
    """The tier at which the vendor serves: `flex`, `default`, or a word of the vendor's own. It is passed on only if a
    tier was asked for.
    """

    tier: str


class Finished(msgspec.Struct, frozen=True):
    """The vendor's terminal marker. `reason` is `stop`, `length`, `tool_calls` or `content_filter`."""

    reason: str


Piece = str | Joined | CallPiece | ThoughtPiece | Thinking | UsedUp | ServedAt | Reported | Finished


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a vendor's connections: `connections` at the same time; `connect_s` to establish one; `read_s` between
    two bytes; `coalesce_s`, see `coalescing.py`.
    """

    connections: int
    connect_s: float
    read_s: float
    coalesce_s: float = 0.0


class Provider(Protocol):
    """One or several APIs of a vendor, with one set of connections."""

    def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """The pieces of one call, with the promises above. Raises only `RebootError`s."""

    async def close(self) -> None:
        """Close the connections; closing twice does no harm."""
