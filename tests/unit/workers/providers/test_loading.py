"""Which upstreams a worker holds, and with which key and address each is called."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.catalogue.models import load_catalogue
from shared.catalogue.upstreams import Upstream
from shared.settings import SettingsError
from workers.providers.bedrock.client import Clients
from workers.providers.credentials import environment_of
from workers.providers.loading import LoadedApis, load_upstreams
from workers.providers.protocol import Limits

LIMITS = Limits(connections=2, connect_s=1, read_s=60)
OWN = Upstream(name="openai", provider="openai")
EU = Upstream(
    name="openai-eu",
    provider="openai",
    key_variable="OPENAI_EU_KEY",
    base_url="https://eu.example/v1",
    api="openai-chat",
)


def _held(*upstreams: Upstream, **environment: str) -> LoadedApis:
    return load_upstreams(upstreams, {"openai", "bedrock"}, environment, LIMITS)


async def _head(held: LoadedApis, name: str) -> Any:
    api: Any = held[name]["openai-chat"]
    return await api._clients.head_of("/chat/completions")


async def test_each_upstream_is_called_with_its_own_key_at_its_own_address() -> None:
    held = _held(OWN, EU, OPENAI_API_KEY="own", OPENAI_EU_KEY="eu", OPENAI_BASE_URL="http://usual/v1")
    own, eu = await _head(held, "openai"), await _head(held, "openai-eu")
    assert (own.url, own.headers["Authorization"]) == ("http://usual/v1/chat/completions", "Bearer own")
    assert (eu.url, eu.headers["Authorization"]) == ("https://eu.example/v1/chat/completions", "Bearer eu")
    assert (set(held["openai-eu"]), len(held["openai"])) == ({"openai-chat"}, 3)
    await held.close()


async def test_a_key_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("filed\n")
    held = _held(Upstream(name="openai-2", provider="openai", key_file=str(file)))
    assert (await _head(held, "openai-2")).headers["Authorization"] == "Bearer filed"
    await held.close()


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"openai-2.*key_file.*FileNotFoundError"):
        _held(Upstream(name="openai-2", provider="openai", key_file=str(tmp_path / "none")))
    file = tmp_path / "key"
    file.write_text(" \n")
    with pytest.raises(SettingsError, match=r"openai-2.*key_file.* is empty: write the key"):
        _held(Upstream(name="openai-2", provider="openai", key_file=str(file)))


async def test_what_lacks_its_key_is_not_held() -> None:
    held = _held(OWN, EU, OPENAI_API_KEY="own")
    model = load_catalogue().find("openai-gpt-4o")
    assert set(held) == {"openai"}
    assert (held.can_call(model, [EU, OWN]), held.can_call(model, [EU])) == (True, False)
    await held.close()


async def test_regions_of_one_account_share_their_client() -> None:
    regions = [Upstream(name=f"aws-{name}", provider="bedrock", region=name) for name in ("us-east-1", "eu-west-1")]
    held = _held(*regions, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="s")
    assert held["aws-us-east-1"] == held["aws-eu-west-1"]
    await held.close()


async def _signed(told: Mapping[str, str]) -> str:
    """Of a call to Bedrock the header that says who calls."""
    signed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def look(request: Any, **_: object) -> None:
        signed.set_result(request.headers["Authorization"].decode())
        raise ConnectionError

    clients = Clients(told, LIMITS)
    client = await clients.client_in(None)
    client.meta.events.register("before-send.bedrock-runtime", look)
    with pytest.raises(ConnectionError):
        await client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "Hi"}]}])
    await clients.close()
    return signed.result()


@pytest.mark.parametrize(
    ("key", "begins"),
    [("AKIA1:secret", "AWS4-HMAC-SHA256 Credential=AKIA1/"), ("bedrock-api-key-1", "Bearer bedrock-api-key-1")],
    ids=["id and secret", "Bedrock's own"],
)
async def test_an_account_of_aws_is_called_with_its_own_key_whatever_the_process_has(
    monkeypatch: pytest.MonkeyPatch, key: str, begins: str
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "another")
    usual = {"AWS_ACCESS_KEY_ID": "usual", "AWS_SECRET_ACCESS_KEY": "s", "AWS_BEARER_TOKEN_BEDROCK": "another"}
    told = environment_of(
        Upstream(name="aws-2", provider="bedrock", key_variable="AWS_2_KEY"), usual | {"AWS_2_KEY": key}
    )
    assert told is not None
    assert (await _signed(told)).startswith(begins)
