"""Several keys and regions of a vendor at once, each with a fault of its own, as the vendors' SDKs meet them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import aioboto3
import aiohttp
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from google import genai
from google.genai import errors

from deploy.simulator.app import Running
from deploy.simulator.upstreams import Condition, Payer, Upstreams

MINI, GEMINI, NOVA, DEEPSEEK = (
    "gpt-4o-mini-2024-07-18",
    "gemini-2.5-flash",
    "us.amazon.nova-lite-v1:0",
    "deepseek-flash",
)
TURN: Any = [{"role": "user", "content": "[[sim tokens=3]] hi"}]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def client(simulator: Running, stack: AsyncExitStack) -> Callable[..., openai.AsyncOpenAI]:
    def make(key: str, region: str = "", vendor: str = "openai") -> openai.AsyncOpenAI:
        url = getattr(simulator.at(region) if region else simulator, vendor)
        made = openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0, timeout=5)
        stack.push_async_callback(made.close)
        return made

    return make


async def _ask(client: openai.AsyncOpenAI, model: str = MINI) -> str:
    answer = await client.chat.completions.create(model=model, messages=TURN)
    return answer.choices[0].message.content or ""


async def _put(simulator: Running, **condition: object) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/_upstreams", json=condition) as answer,
    ):
        return {"status": answer.status, **await answer.json()}


async def test_a_fault_of_one_key_leaves_the_others_alone(simulator: Running, client: Any) -> None:
    await _put(simulator, vendor="openai", key="sk-one", fault="dead")
    with pytest.raises(openai.APIConnectionError):
        await _ask(client("sk-one"))
    assert await _ask(client("sk-two"))
    await _put(simulator, vendor="openai", key="sk-one")
    assert await _ask(client("sk-one")), "it is well again"


async def test_a_region_may_be_down_for_all_keys(simulator: Running, client: Any) -> None:
    await _put(simulator, region="eu", fault="down")
    for key in ("sk-one", "sk-two"):
        with pytest.raises(openai.InternalServerError):
            await _ask(client(key, "eu"))
        assert await _ask(client(key, "us"))
        assert await _ask(client(key))


async def test_a_silent_key_takes_calls_and_never_answers(simulator: Running, client: Any) -> None:
    await _put(simulator, key="sk-one", fault="silent")
    with pytest.raises(openai.APITimeoutError):
        await _ask(client("sk-one").with_options(timeout=0.2))
    await simulator.calls.until(lambda calls: bool(calls.find(ending="client_gone")))
    (seen,) = simulator.calls.seen()
    assert (seen.account, seen.endings) == ("-one", {"client_gone": 1})


async def test_a_throttled_key_says_what_it_takes(simulator: Running, client: Any) -> None:
    await _put(simulator, key="sk-one", fault="throttled", per_minute=30, burst=2)
    one = client("sk-one")
    first = await one.chat.completions.with_raw_response.create(model=MINI, messages=TURN)
    assert first.headers["x-ratelimit-limit-requests"] == "30"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    await _ask(one)
    with pytest.raises(openai.RateLimitError) as refused:
        await _ask(one)
    assert refused.value.code == "rate_limit_exceeded"
    assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= 2_000
    assert refused.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert await _ask(client("sk-two"))


class Worded(NamedTuple):
    """How a vendor refuses an account."""

    status: int
    code: str


WORDED = {
    "openai": (Worded(401, "invalid_api_key"), Worded(429, "insufficient_quota")),
    "deepseek": (Worded(401, "invalid_request_error"), Worded(402, "invalid_request_error")),
}


@pytest.mark.parametrize("vendor", WORDED)
async def test_openai_and_deepseek_refuse_keys_in_their_words(vendor: str, simulator: Running, client: Any) -> None:
    for fault, worded in zip(("wrong_key", "no_credit"), WORDED[vendor], strict=True):
        await _put(simulator, vendor=vendor, key="sk-one", fault=fault)
        with pytest.raises(openai.APIStatusError) as refused:
            await _ask(client("sk-one", vendor=vendor), MINI if vendor == "openai" else DEEPSEEK)
        assert (refused.value.status_code, refused.value.code) == worded


async def test_gemini_refuses_keys_in_its_words(simulator: Running) -> None:
    client = genai.Client(api_key="AIza-one", http_options={"base_url": simulator.gemini}).aio.models
    await _put(simulator, vendor="gemini", key="AIza-one", fault="wrong_key")
    with pytest.raises(errors.ClientError, match="API key not valid") as refused:
        await client.generate_content(model=GEMINI, contents="hi")
    assert refused.value.code == 400
    assert "API_KEY_INVALID" in str(refused.value.details)
    await _put(simulator, vendor="gemini", key="AIza-one", fault="no_credit")
    with pytest.raises(errors.ClientError, match="credits are depleted") as refused:
        await client.generate_content(model=GEMINI, contents="hi")
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
    await _put(simulator, vendor="gemini", key="AIza-one", fault="throttled", per_minute=1)
    await client.generate_content(model=GEMINI, contents="[[sim tokens=1]]")
    with pytest.raises(errors.ClientError, match="retryDelay"):
        await client.generate_content(model=GEMINI, contents="hi")


async def test_the_region_of_an_aws_signature_counts(simulator: Running) -> None:
    await _put(simulator, vendor="bedrock", region="us-west-2", fault="down", script="status=503")
    await _put(simulator, vendor="bedrock", key="AKIAONE", fault="wrong_key")
    await _put(simulator, vendor="bedrock", key="AKIATWO", region="us-east-1", fault="no_credit")
    assert await _converse(simulator, "AKIAONE", "us-east-1") == "UnrecognizedClientException"
    assert await _converse(simulator, "AKIATWO", "us-east-1") == "AccessDeniedException"
    assert await _converse(simulator, "AKIATHREE", "us-west-2") == "ServiceUnavailableException"
    assert await _converse(simulator, "AKIATHREE", "us-east-1") == ""


async def _converse(simulator: Running, key: str, region: str) -> str:
    """The code of the refusal, empty for an answer."""
    session = aioboto3.Session(aws_access_key_id=key, aws_secret_access_key="secret", region_name=region)
    config = Config(retries={"total_max_attempts": 1})
    turn = [{"role": "user", "content": [{"text": "[[sim tokens=1]]"}]}]
    async with session.client("bedrock-runtime", endpoint_url=simulator.bedrock, config=config) as bedrock:
        try:
            await bedrock.converse(modelId=NOVA, messages=turn)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
    return ""


@pytest.mark.parametrize("fault", ["unfinished", "endless"])
async def test_a_stream_may_end_without_its_end_or_never(fault: str, simulator: Running, client: Any) -> None:
    await _put(simulator, key="sk-one", fault=fault)
    stream = await client("sk-one").chat.completions.create(model=MINI, messages=TURN, stream=True, max_tokens=3)
    reasons, chunks = set[str | None](), 0
    async for chunk in stream:
        reasons |= {choice.finish_reason for choice in chunk.choices}
        chunks += 1
        if chunks > 100:
            break
    await stream.close()
    assert reasons == {None}
    assert (chunks > 100) == (fault == "endless")


async def test_a_realtime_session_meets_the_faults_of_its_key_too(simulator: Running) -> None:
    url = f"{simulator.openai}/realtime?model=gpt-realtime"
    await _put(simulator, vendor="openai", key="sk-one", fault="wrong_key")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers={"Authorization": "Bearer sk-one"})
        assert refused.value.status == 401
        async with session.ws_connect(url, headers={"Authorization": "Bearer sk-two"}) as socket:
            assert (await socket.receive_json())["type"] == "session.created"
    (seen,) = simulator.calls.seen()
    assert seen.endings == {"wrong_key": 1}


async def test_the_bill_is_by_key_and_region(simulator: Running, client: Any) -> None:
    for key, region in (("sk-one", ""), ("sk-one", "eu"), ("sk-two", ""), ("sk-two", "")):
        await _ask(client(key, region))
    await _put(simulator, key="sk-one", fault="unfinished")
    await asyncio.gather(_streamed(client("sk-one")), _streamed(client("sk-two")))
    async with aiohttp.ClientSession() as session, session.get(f"{simulator.url}/_calls/bill") as answer:
        lines = (await answer.json())["bill"]
    found = [(line["account"], line["region"], line["calls"], line["broken_calls"]) for line in lines]
    assert found == [("-one", "", 1, 1), ("-one", "eu", 1, 0), ("-two", "", 3, 0)]
    assert all(line["output_tokens"] == 3 * line["calls"] for line in lines)
    assert lines[0]["broken_output_tokens"] == 2


async def _streamed(client: openai.AsyncOpenAI) -> None:
    async for _ in await client.chat.completions.create(model=MINI, messages=TURN, stream=True):
        pass


async def test_keys_are_shown_by_their_ends_only(simulator: Running, client: Any) -> None:
    await _put(simulator, key="sk-secret-9876", fault="slow", script="first_ms=1")
    await _ask(client("sk-secret-9876"))
    async with aiohttp.ClientSession() as session, session.get(f"{simulator.url}/_upstreams") as answer:
        text, shown = await answer.text(), await answer.json()
    assert "secret" not in text
    assert shown["in_force"][0]["key"] == shown["seen"][0]["account"] == "9876"


@pytest.mark.parametrize("wrong", [{"fault": "tired"}, {"keys": ["a"]}, {"script": "colour=red"}, {"vendor": "acme"}])
async def test_a_wrong_condition_is_refused(wrong: dict[str, object], simulator: Running) -> None:
    answer = await _put(simulator, **wrong)
    assert answer["status"] == 400
    assert answer["error"]


def test_a_flapping_key_is_down_and_well_by_turns() -> None:
    clock = Clock()
    upstreams = Upstreams(clock)
    upstreams.set(Condition(key="k", fault="flapping", down_s=2, up_s=3))
    scripts = []
    for clock.now in (0.0, 1.9, 2.0, 4.9, 5.0, 7.0):
        scripts.append(bool(upstreams.meet(Payer("openai", "k")).script))
    assert scripts == [True, True, False, False, True, False]


def test_each_key_has_a_bucket_of_its_own() -> None:
    clock = Clock()
    upstreams = Upstreams(clock)
    upstreams.set(Condition(vendor="openai", fault="throttled", per_minute=60, burst=2))
    one, two = Payer("openai", "one"), Payer("openai", "two")
    assert [upstreams.meet(one).refused for _ in range(3)] == ["", "", "throttled"]
    assert upstreams.meet(two).refused == ""
    clock.now = 1.0
    assert [upstreams.meet(one).refused for _ in range(2)] == ["", "throttled"]


def test_a_share_of_the_calls_is_drawn_by_lot() -> None:
    upstreams = Upstreams()
    upstreams.set(Condition(fault="down", share=0.25))
    befallen = sum(bool(upstreams.meet(Payer("openai", "k")).script) for _ in range(2_000))
    assert 400 < befallen < 600
