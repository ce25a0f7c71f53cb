"""Amazon Bedrock: two APIs on the same connections. Most models speak Converse, four old ones only InvokeModel."""

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
    """`stream` as the protocol of this folder says."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def close(self) -> None:
        """Close the clients."""
        await self._clients.close()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        """One call, in the row's region."""
        call = CALLS[request.model.api, request.stream]
        async with vendor_failures():
            client = await self._clients.client_in(request.model.region)
            async with aclosing(call(client, request)) as pieces:
                async for piece in pieces:
                    yield piece


def create(environment: Mapping[str, str], limits: Limits) -> Bedrock | None:
    """None when AWS's usual chain ends without credentials."""
    told = any(environment.get(variable) for variable in OWN_VARIABLES)
    return Bedrock(Clients(environment, limits)) if told or _chain_has_credentials() else None


def _chain_has_credentials() -> bool:
    """Once, at the start: the chain may read files and ask the machine for its role, a second at most."""
    return botocore.session.Session().get_credentials() is not None
