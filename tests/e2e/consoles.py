"""A browser without scripts, as far as the console needs one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from api.console.session import COOKIE
from tests.harness.caller import Caller


class Seen(NamedTuple):
    status: int
    headers: Any
    text: str

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', self.text)
        assert found, self.text
        return found[1]


class Browser:
    """Keeps cookies of one front door, and follows no redirect by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def ask(self, method: str, path: str, **arguments: Any) -> Seen:
        async with self.http.request(method, self.url + path, allow_redirects=False, **arguments) as reply:
            return Seen(reply.status, reply.headers, await reply.text())

    async def get(self, path: str, **arguments: Any) -> Seen:
        return await self.ask("GET", path, **arguments)

    async def sign_in(self, key: str, **fields: str) -> Seen:
        return await self.ask("POST", "/console/sign-in", data={"key": key, **fields})

    @property
    def cookie(self) -> str | None:
        cookies = self.http.cookie_jar.filter_cookies(URL(f"{self.url}/console"))
        return cookies[COOKIE].value if COOKIE in cookies else None


NewBrowser = Callable[[Caller], Browser]
