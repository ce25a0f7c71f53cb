"""Vendors. A provider turns one request into one vendor call and back, and knows nothing else: no Redis, no money.

    request ──► provider.stream(request) ──► Text … Text, Usage, Finished

The promises that `tests/conformance` holds every file of this folder to:

- text arrives intact, whatever the vendor's framing cuts through;
- exactly one `Usage` (or None in its place when the vendor reported nothing), then exactly one `Finished`, and only after
  the API's own terminal marker;
- every failure is a `RebootError`; nothing is retried in hiding;
- closing the iterator closes the vendor's connection.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

import msgspec

from shared.catalogue import Model
from shared.chat import Message, Sampling
from shared.money import Usage

FILES = {"openai-chat": ("openai", "openai_chat")}
"""The provider and the file of each API. A row of the catalogue whose API is not here is listed as not available."""


class ProviderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`stream` decides the upstream form. `output_limit` is in tokens; None in `sampling` leaves the vendor's default."""

    id: str
    model: Model
    messages: list[Message]
    sampling: Sampling
    output_limit: int
    stream: bool


class Finished(msgspec.Struct, frozen=True):
    """The vendor's terminal marker. `reason` is one of `stop`, `length`, `content_filter`."""

    reason: str


class Reported(msgspec.Struct, frozen=True):
    """What the vendor said of the tokens; None when it said nothing."""

    usage: Usage | None


Piece = str | Reported | Finished


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`connections` at the same time; `connect_s` until a connection stands, `read_s` between two bytes."""

    connections: int
    connect_s: float
    read_s: float


class Provider(Protocol):
    """One vendor API with its one client."""

    def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """Text pieces, one `Reported`, one `Finished`. Raises only `RebootError`s."""

    async def close(self) -> None:
        """Close the client and its connections."""


def load_providers(providers: set[str], environment: Mapping[str, str], limits: Limits) -> dict[str, Provider]:
    """The APIs of `providers` that have credentials in `environment`, by API name; imports no other vendor's SDK."""
    loaded: dict[str, Provider] = {}
    for api, (provider, file) in FILES.items():
        if provider in providers:
            created: Provider | None = importlib.import_module(f"workers.providers.{file}").create(environment, limits)
            if created is not None:
                loaded[api] = created
    return loaded
