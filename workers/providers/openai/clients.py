"""The `openai` SDK's clients of one vendor: its own, and one for each other address that rows of the catalogue name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai
from multidict import CIMultiDict

from shared.catalogue.models import Model
from shared.errors import ProviderNotConfigured
from workers.providers.protocol import Limits
from workers.providers.wire.sending import aiohttp_trace

OF_THE_BODY = ("Content-Length", "Connection", "Host")
"""What aiohttp says itself of each request."""


class Head(NamedTuple):
    """What stands before the body of a call."""

    url: str
    headers: CIMultiDict[str]
    proxy: str | None


class Clients:
    """Made when first needed, kept open. A row's `base_url` goes with the key that its `key_variable` names, so that a
    vendor's key never reaches another vendor.
    """

    def __init__(self, key: str | None, base_url: str | None, environment: Mapping[str, str], limits: Limits) -> None:
        self._own = (base_url, key)
        self._environment = environment
        self._limits = limits
        self._clients: dict[tuple[str | None, str], openai.AsyncOpenAI] = {}
        self._heads: dict[tuple[str | None, str, str], Head] = {}
        self._session: aiohttp.ClientSession | None = None

    def client_of(self, model: Model) -> openai.AsyncOpenAI:
        """Raises `ProviderNotConfigured` when the environment lacks the row's key."""
        address = self._address_of(model)
        if address not in self._clients:
            self._clients[address] = _build(*address, self._limits)
        return self._clients[address]

    async def head_of(self, model: Model, path: str) -> Head:
        """The SDK's own address, keys and headers, which are the same for every call to `path`. Raises like `client_of`."""
        place = (*self._address_of(model), path)
        if place not in self._heads:
            self._heads[place] = await _head(self.client_of(model), path)
        return self._heads[place]

    @property
    def session(self) -> aiohttp.ClientSession:
        """With as many connections as the worker has slots."""
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limits.connections, ssl=httpx2.create_ssl_context()),
                timeout=aiohttp.ClientTimeout(
                    connect=limits.connect_s, sock_connect=limits.connect_s, sock_read=limits.read_s
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[aiohttp_trace()],
            )
        return self._session

    async def close(self) -> None:
        """Close all of them."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()
        if self._session:
            await self._session.close()

    def _address_of(self, model: Model) -> tuple[str | None, str]:
        own_url, own_key = self._own
        if model.key_variable is None and own_key:
            return own_url, own_key
        key = self._environment.get(model.key_variable) if model.key_variable else None
        if not key:
            wanted = model.key_variable or "its vendor's key"
            raise ProviderNotConfigured(f"{model.name} is not set up: the operator has to set {wanted}.")
        return model.base_url or own_url, key


def openai_clients(environment: Mapping[str, str], limits: Limits) -> Clients:
    """OpenAI's own, by `OPENAI_API_KEY`. `OPENAI_BASE_URL` is the SDK's own variable."""
    base_url = environment.get("OPENAI_BASE_URL") or None
    return Clients(environment.get("OPENAI_API_KEY"), base_url, environment, limits)


def _build(base_url: str | None, key: str, limits: Limits) -> openai.AsyncOpenAI:
    """The SDK's own retries are off, because a retry that nobody sees cannot be charged or bounded."""
    timeout = httpx2.Timeout(None, connect=limits.connect_s, read=limits.read_s, pool=limits.connect_s)
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeout)


class _Recorder(httpx2.AsyncBaseTransport):
    """Keeps the request instead of sending it."""

    def __init__(self) -> None:
        self.sent: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        return httpx2.Response(200, json={})


async def _head(client: openai.AsyncOpenAI, path: str) -> Head:
    """Asked once: it is always the same, and takes the SDK longer than all the rest of a call."""
    recorder = _Recorder()
    async with httpx2.AsyncClient(transport=recorder) as http_client:
        asking = client.with_options(http_client=http_client)
        await asking.post(path, cast_to=httpx2.Response, content=b"{}")
    (request,) = recorder.sent
    headers = CIMultiDict(request.headers.multi_items())
    for name in OF_THE_BODY:
        headers.popall(name, None)
    url = request.url.copy_with(userinfo=b"")  # it has become a header
    return Head(str(url), headers, _proxy(url))


def _proxy(url: httpx2.URL) -> str | None:
    """As the environment says; aiohttp would ask it, and the user's netrc, in a thread for every request. One of SOCKS the
    SDK has refused already.
    """
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.netloc.decode("ascii")) or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
