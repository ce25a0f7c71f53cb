"""The `openai` SDK's clients of one vendor: its own, and one for each other address that rows of the catalogue name."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
import openai

from shared.catalogue import Model
from shared.errors import ProviderNotConfigured
from workers.providers import Limits


class Clients:
    """Made when first needed, kept open. A row's `base_url` goes with the key that its `key_variable` names, so that a
    vendor's key never reaches another vendor.
    """

    def __init__(self, key: str | None, base_url: str | None, environment: Mapping[str, str], limits: Limits) -> None:
        self._own = (base_url, key)
        self._environment = environment
        self._limits = limits
        self._clients: dict[tuple[str | None, str], openai.AsyncOpenAI] = {}

    def client_of(self, model: Model) -> openai.AsyncOpenAI:
        """Raises `ProviderNotConfigured` when the environment lacks the row's key."""
        address = self._address_of(model)
        if address not in self._clients:
            self._clients[address] = _build(*address, self._limits)
        return self._clients[address]

    async def close(self) -> None:
        """Close all of them."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    def _address_of(self, model: Model) -> tuple[str | None, str]:
        own_url, own_key = self._own
        if model.key_variable is None and own_key:
            return own_url, own_key
        key = self._environment.get(model.key_variable) if model.key_variable else None
        if not key:
            wanted = model.key_variable or "its vendor's key"
            raise ProviderNotConfigured(f"{model.name} is not set up: the operator has to set {wanted}.")
        return model.base_url or own_url, key


def _build(base_url: str | None, key: str, limits: Limits) -> openai.AsyncOpenAI:
    """On aiohttp, with as many connections as the worker has slots. The SDK's own retries are off, because a retry that
    nobody sees cannot be charged or bounded.
    """
    timeout = httpx2.Timeout(None, connect=limits.connect_s, read=limits.read_s, pool=limits.connect_s)
    pool = httpx2.Limits(max_connections=limits.connections, max_keepalive_connections=limits.connections)
    http_client = openai.DefaultAioHttpClient(timeout=timeout, limits=pool)
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeout, http_client=http_client)
