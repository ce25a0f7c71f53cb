"""The `openai` SDK's client of one upstream, and its parts that are used by calls without the SDK."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai
from multidict import CIMultiDict

from workers.providers.protocol import Limits
from workers.providers.wire.sending import aiohttp_trace

OF_THE_BODY = ("Content-Length", "Connection", "Host")
"""Headers that aiohttp itself sets for each request."""


class Head(NamedTuple):
    """The address and the headers of a call."""

    url: str
    headers: CIMultiDict[str]
    proxy: str | None


class Clients:
    """One key at one address: the SDK's client, the head of its calls, and a session. Each is created when it is first
    needed.
    """

    def __init__(self, key: str, base_url: str | None, limits: Limits) -> None:
        self._address = (base_url, key)
        self._limits = limits
        self._client: openai.AsyncOpenAI | None = None
        self._heads: dict[str, Head] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The SDK's client."""
        if self._client is None:
            self._client = _build(*self._address, self._limits)
        return self._client

    async def head_of(self, path: str) -> Head:
        """The SDK's address, key and headers, which are the same for every call to `path`."""
        if path not in self._heads:
            self._heads[path] = await _head(self.client, path)
        return self._heads[path]

    @property
    def session(self) -> aiohttp.ClientSession:
        """A session with as many connections as the worker has slots."""
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limits.connections, ssl=_tls()),
                timeout=aiohttp.ClientTimeout(
                    connect=limits.connect_s, sock_connect=limits.connect_s, sock_read=limits.read_s
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[aiohttp_trace()],
            )
        return self._session

    async def close(self) -> None:
        """Close the SDK's client and the session."""
        client, self._client = self._client, None
        if client:
            await client.close()
        if self._session:
            await self._session.close()


def openai_clients(environment: Mapping[str, str], limits: Limits) -> Clients:
    """Clients with the key in `OPENAI_API_KEY`. `OPENAI_BASE_URL` is the SDK's own variable."""
    return Clients(environment["OPENAI_API_KEY"], environment.get("OPENAI_BASE_URL") or None, limits)


def _build(base_url: str | None, key: str, limits: Limits) -> openai.AsyncOpenAI:
    """The SDK's client, without its own retries, because hidden retries could be neither charged nor limited."""
    timeout = httpx2.Timeout(None, connect=limits.connect_s, read=limits.read_s, pool=limits.connect_s)
    http_client = openai.DefaultAsyncHttpxClient(timeout=timeout, verify=_tls())
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeout, http_client=http_client)


@cache
def _tls() -> ssl.SSLContext:
    """The TLS settings of all connections. Reading the authorities' certificates takes 20 ms, in which the event loop does
    nothing else.
    """
    return httpx2.create_ssl_context()


class _Recorder(httpx2.AsyncBaseTransport):
    """A transport that keeps the request instead of sending it."""

    def __init__(self) -> None:
        self.sent: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        return httpx2.Response(200, json={})


async def _head(client: openai.AsyncOpenAI, path: str) -> Head:
    """The address and the headers of a call. The SDK is asked once, because they are always the same, and computing
    them takes the SDK longer than the rest of a call.
    """
    recorder = _Recorder()
    async with httpx2.AsyncClient(transport=recorder) as http_client:
        asking = client.with_options(http_client=http_client)
        await asking.post(path, cast_to=httpx2.Response, content=b"{}")
    (request,) = recorder.sent
    headers = CIMultiDict(request.headers.multi_items())
    for name in OF_THE_BODY:
        headers.popall(name, None)
    url = request.url.copy_with(userinfo=b"")  # the user info was sent as a header
    return Head(str(url), headers, _proxy(url))


def _proxy(url: httpx2.URL) -> str | None:
    """The proxy that the environment names. aiohttp itself would read the environment and the user's netrc in a thread
    for every request. The SDK has refused SOCKS proxies before.
    """
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.netloc.decode("ascii")) or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
