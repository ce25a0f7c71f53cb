"""The service over HTTP, as the account of an API key."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from shared.errors import RebootError, error_body, from_body
from shared.settings import SettingsError

NDJSON = "application/x-ndjson"
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
OK_MAX = 299
REDIRECTS = range(300, 400)
"""Redirects are not followed: lines and key belong to the address that was named."""


class Unreachable(RebootError):
    """Nobody answers, or the answer broke off."""


class Service:
    """Calls the service; made by `connected`. All methods raise the service's refusals, and `Unreachable`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def submit(self, path: Path, key: str, *, flex: bool = False) -> Any:  # noqa: ANN401 - any JSON
        """Create a batch from the file's lines, at the service tier `flex` if wanted. `key` keeps a repeat from creating
        another one.
        """
        headers = {"Content-Type": NDJSON, "Idempotency-Key": key}
        params = {"service_tier": "flex"} if flex else {}
        with path.open("rb") as file:
            async with self._answer("POST", "/api/batches", data=file, headers=headers, params=params) as response:
                return msgspec.json.decode(await response.read())["result"]

    async def models(self) -> Any:  # noqa: ANN401
        """All models with their prices."""
        async with self._answer("GET", "/api/models") as response:
            return msgspec.json.decode(await response.read())["result"]

    async def batch(self, batch_id: str) -> Any:  # noqa: ANN401
        """A batch with its state and counts."""
        async with self._answer("GET", _path(batch_id)) as response:
            return msgspec.json.decode(await response.read())["result"]

    async def results(self, batch_id: str, after: str | None = None) -> AsyncGenerator[bytes]:
        """The result lines after `after`, as they arrive."""
        params = {} if after is None else {"after": after}
        async with self._answer("GET", f"{_path(batch_id)}/results", params=params) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    @asynccontextmanager
    async def _answer(self, method: str, path: str, **arguments: Any) -> AsyncIterator[aiohttp.ClientResponse]:  # noqa: ANN401
        try:
            async with self._session.request(method, self._url + path, allow_redirects=False, **arguments) as response:
                if response.status in REDIRECTS:
                    raise Unreachable(f"{self._url} leads to another address: set REBOOTML_URL to that")
                if response.status > OK_MAX:
                    raise _refusal(response.status, await response.read())
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{self._url} cannot be reached, or broke off ({type(error).__name__})") from error


@asynccontextmanager
async def connected(url: str | None, run: Mapping[str, Any]) -> AsyncIterator[Service]:
    """Connect to `url`, otherwise to `REBOOTML_URL`, otherwise to the running `make run` that `run` describes. That run's
    key is sent to no other address. Raises `SettingsError`.
    """
    found = url or os.environ.get("REBOOTML_URL") or run.get("url")
    if not found:
        raise SettingsError("REBOOTML_URL is not set and nothing runs here: set it, or start `make run`")
    key = os.environ.get("REBOOTML_API_KEY") or (run.get("api_key") if found == run.get("url") else None)
    if not key:
        raise SettingsError("REBOOTML_API_KEY is not set: it takes a key of the account that the batch is for")
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=TIMEOUT) as session:
        yield Service(session, found.rstrip("/"))


def _path(batch_id: str) -> str:
    return "/api/batches/" + "".join(character for character in batch_id if character.isalnum() or character == "_")


def _refusal(status: int, body: bytes) -> RebootError:
    try:
        error = msgspec.json.decode(body)["error"]
        return from_body(error_body(error["code"], error["message"]))
    except (msgspec.DecodeError, KeyError, TypeError):
        return Unreachable(f"the answer is no one of RebootML's: HTTP {status}")
