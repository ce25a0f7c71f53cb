"""Amazon Bedrock: two APIs over the same connections. Most models use Converse, four old ones only InvokeModel."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import botocore.session

from workers.providers.bedrock.client import Clients, vendor_failures
from workers.providers.bedrock.converse import converse, converse_stream
from workers.providers.bedrock.invoke import invoke, invoke_stream
from workers.providers.protocol import Limits, Piece, ProviderRequest

CALLS = {
    ("bedrock-converse", False): converse,
    ("bedrock-converse", True): converse_stream,
    ("bedrock-invoke", False): invoke,
    ("bedrock-invoke", True): invoke_stream,
}
OWN_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK")


class Bedrock:
    """A provider, see `protocol.py`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def close(self) -> None:
        """Close the clients."""
        await self._clients.close()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """Make one call, in the region of the model's row."""
        call = CALLS[request.model.api, request.stream]
        async with vendor_failures():
            client = await self._clients.client_in(request.model.region)
            async with aclosing(call(client, request)) as pieces:
                async for piece in pieces:
                    yield piece


def create(environment: Mapping[str, str], limits: Limits) -> Bedrock | None:
    """The provider; None if AWS's usual chain has no credentials."""
    told = any(environment.get(variable) for variable in OWN_VARIABLES)
    return Bedrock(Clients(environment, limits)) if told or _chain_has_credentials() else None


def _chain_has_credentials() -> bool:
    """True if AWS's chain has credentials. This is asked once, at the start, because the chain may read files and ask the
    machine for its role, which takes up to a second.
    """
    return botocore.session.Session().get_credentials() is not None
