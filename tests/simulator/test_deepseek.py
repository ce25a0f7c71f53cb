"""DeepSeek as its users reach it: OpenAI's SDK with another base URL."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from deploy.simulator import answer
from deploy.simulator.app import Running
from deploy.simulator.script import from_message
from tests.simulator.conftest import DEFAULTS


@pytest.fixture(scope="module")
async def client(served: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=served.deepseek, max_retries=0) as made:
        yield made


def body(text: str, model: str = "deepseek-chat", **more: object) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def stream(client: openai.AsyncOpenAI, text: str, model: str = "deepseek-chat") -> list[ChatCompletionChunk]:
    options = {"include_usage": True}
    received = await client.chat.completions.create(**body(text, model, stream=True, stream_options=options))
    return [chunk async for chunk in received]


def expected(text: str, model: str = "deepseek-chat") -> str:
    return "".join(answer.answer(model, text, from_message(text, DEFAULTS)))


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_the_reasoner_thinks_first_and_then_answers(client: openai.AsyncOpenAI) -> None:
    text = "[[sim reasoning=5 cached=4 unicode=1 split=1]]"
    chunks = await stream(client, text, "deepseek-reasoner")
    thoughts: list[Any] = [chunk.choices[0].delta for chunk in chunks[1:6]]
    assert all(delta.content is None for delta in thoughts)
    assert [delta.reasoning_content for delta in thoughts] == answer.thoughts(5)
    assert text_of(chunks) == expected(text, "deepseek-reasoner")
    usage: Any = chunks[-1].usage
    assert usage.completion_tokens == 29
    assert usage.completion_tokens_details.reasoning_tokens == 5
    assert (usage.prompt_cache_hit_tokens, usage.prompt_cache_miss_tokens) == (4, usage.prompt_tokens - 4)


async def test_a_json_answer_shows_the_reasoning(client: openai.AsyncOpenAI) -> None:
    completion: Any = await client.chat.completions.create(**body("[[sim reasoning=2]]", "deepseek-reasoner"))
    assert completion.choices[0].message.reasoning_content == "".join(answer.thoughts(2))


async def test_v1_is_the_same_api(simulator: Running) -> None:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{simulator.deepseek}/v1", max_retries=0) as client:
        assert (await client.chat.completions.create(**body("hi"))).choices[0].message.content == expected("hi")


async def test_usage_can_come_with_the_finish_reason(client: openai.AsyncOpenAI) -> None:
    chunks = await stream(client, "[[sim usage=inline tokens=3]]")
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


async def test_keep_alives_come_before_the_answer(client: openai.AsyncOpenAI) -> None:
    text = "[[sim keepalive=5]]"
    assert text_of(await stream(client, text)) == expected(text)
    assert (await client.chat.completions.create(**body(text))).choices[0].message.content == expected(text)


async def test_the_server_may_give_up(client: openai.AsyncOpenAI) -> None:
    chunks = await stream(client, "[[sim finish=insufficient_system_resource tokens=3]]")
    assert str(chunks[-2].choices[0].finish_reason) == "insufficient_system_resource"


REFUSED = [
    ({"model": "deepseek-gone"}, 400, "Model Not Exist"),
    ({"messages": [{"role": "user", "content": "[[sim fault=retired]]"}]}, 400, "Model Not Exist"),
    ({"messages": [{"role": "user", "content": "[[sim status=402]]"}]}, 402, "Insufficient Balance"),
    ({"max_tokens": 9_000}, 400, "max_tokens"),
    ({"model": "deepseek-reasoner", "logprobs": True}, 400, "logprobs"),
    ({"messages": [{"role": "assistant", "content": "a", "reasoning_content": "b"}]}, 400, "reasoning_content"),
]


@pytest.mark.parametrize(("change", "status", "words"), REFUSED)
async def test_the_vendors_rules_are_enforced(
    client: openai.AsyncOpenAI, change: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(openai.APIStatusError, match=words) as caught:
        await client.chat.completions.create(**{**body("hi"), **change})
    assert caught.value.status_code == status


async def test_the_reasoner_accepts_and_ignores_temperature(client: openai.AsyncOpenAI) -> None:
    assert (await client.chat.completions.create(**body("hi", "deepseek-reasoner", temperature=0.3))).choices


async def test_faults_are_openais(client: openai.AsyncOpenAI, simulator: Running) -> None:
    with pytest.raises(openai.APIConnectionError):
        await stream(client, "[[sim fault=cut after=3 key=c]]")
    with pytest.raises(openai.APIError):
        await stream(client, "[[sim fault=error_event after=3]]")
    assert [call.api for call in simulator.calls.find("c")] == ["deepseek-chat"]
