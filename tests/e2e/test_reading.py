"""What can be read: models, the account, health."""

from __future__ import annotations

from decimal import Decimal

from shared.catalogue.models import load_catalogue
from tests.harness.caller import Caller


async def test_every_model_is_listed_and_says_whether_it_is_available(caller: Caller) -> None:
    models = (await caller.request("GET", "/api/models")).json["result"]
    assert [model["name"] for model in models] == [model.name for model in load_catalogue()]
    assert len(models) == 111
    mini = next(model for model in models if model["name"] == "openai-gpt-4o-mini")
    assert mini["provider"] == "OpenAI"
    assert (mini["context_window"], mini["max_output_tokens"]) == (128_000, 16_384)
    assert (mini["input_usd_per_mtok"], mini["output_usd_per_mtok"]) == (Decimal("0.15"), Decimal("0.6"))
    assert mini["lifecycle"] == "legacy"
    assert mini["available"] is True
    assert {model["name"]: model["available"] for model in models}["amazon-nova-lite"] is False


async def test_the_account_shows_exact_decimal_strings(caller: Caller) -> None:
    assert await caller.wallet() == {
        "account_id": caller.account_id,
        "name": "someone",
        "balance_usd": "1",
        "held_usd": "0",
        "available_usd": "1",
    }


async def test_health_and_readiness_need_no_key(caller: Caller) -> None:
    caller.key = ""
    assert (await caller.request("GET", "/healthz")).status == 200
    ready = await caller.request("GET", "/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ready")
