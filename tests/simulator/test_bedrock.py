"""AWS's own SDK (aioboto3) against the simulator: Converse, InvokeModel, and their event streams."""

import json
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import aioboto3
import aiohttp
import pytest
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import ClientError, EventStreamError, HTTPClientError

from deploy.simulator import answer
from deploy.simulator.app import Running
from deploy.simulator.script import from_message
from tests.simulator.conftest import DEFAULTS

NOVA = "amazon.nova-lite-v1:0"
COMMAND = "cohere.command-text-v14"
J2 = "ai21.j2-mid-v1"
Bedrock: TypeAlias = Any  # botocore makes its clients at run time


@pytest.fixture(scope="module")
async def client(served: Running) -> AsyncIterator[Bedrock]:
    session = aioboto3.Session(aws_access_key_id="a", aws_secret_access_key="s", region_name="us-east-1")
    retries: Any = {"total_max_attempts": 1, "mode": "standard"}
    config = Config(retries=retries, read_timeout=20)
    async with session.client("bedrock-runtime", endpoint_url=served.bedrock, config=config) as made:
        yield made


def turn(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [{"text": text}]}


def expected(text: str, model: str = NOVA) -> str:
    return "".join(answer.answer(model, text, from_message(text, DEFAULTS)))


async def events(client: Bedrock, text: str, model: str = NOVA) -> list[dict[str, Any]]:
    response = await client.converse_stream(modelId=model, messages=[turn(text)])
    try:
        return [event async for event in response["stream"]]
    finally:
        response["stream"].close()


def text_of(stream: list[dict[str, Any]]) -> str:
    return "".join(event["contentBlockDelta"]["delta"]["text"] for event in stream if "contentBlockDelta" in event)


async def test_converse_answers_with_text_reason_and_usage(client: Bedrock) -> None:
    text = "hi [[sim unicode=1 tokens=40 cached=3 written=5 written_long=1 reasoning=2]]"
    response = await client.converse(modelId=NOVA, messages=[turn(text)], system=[{"text": "be brief"}])
    assert response["output"]["message"] == {"role": "assistant", "content": [{"text": expected(text)}]}
    assert response["stopReason"] == "end_turn"
    prompt = answer.prompt_tokens(["be brief", text])
    assert response["usage"] == {
        "inputTokens": prompt - 8,
        "cacheReadInputTokens": 3,
        "cacheWriteInputTokens": 5,
        "outputTokens": 42,
        "totalTokens": prompt + 42,
    }


@pytest.mark.parametrize("how", ["", "split=1", "surrogate=0 pace_ms=1"])
async def test_converse_stream_is_exact_and_the_usage_comes_last(client: Bedrock, how: str) -> None:
    text = f"hi [[sim unicode=1 tokens=40 {how}]]"
    stream = await events(client, text)
    assert text_of(stream) == expected(text)
    assert stream[0] == {"messageStart": {"role": "assistant"}}
    assert [next(iter(event)) for event in stream[-3:]] == ["contentBlockStop", "messageStop", "metadata"]
    assert stream[-1]["metadata"]["usage"]["outputTokens"] == 40


async def test_limits_and_stop_sequences_are_honoured(client: Bedrock) -> None:
    config = {"maxTokens": 8, "stopSequences": ["made"]}
    response = await client.converse(modelId=NOVA, messages=[turn("hi")], inferenceConfig=config)
    assert (response["stopReason"], response["usage"]["outputTokens"]) == ("stop_sequence", 6)
    response = await client.converse(modelId=NOVA, messages=[turn("hi")], inferenceConfig={"maxTokens": 8})
    assert (response["stopReason"], response["usage"]["outputTokens"]) == ("max_tokens", 8)


@pytest.mark.parametrize("model", ["us.meta.llama3-2-1b-instruct-v1:0", "anthropic.claude-v2:1"])
async def test_ids_with_colons_and_geographies_are_found(client: Bedrock, model: str) -> None:
    assert text_of(await events(client, "hi", model)) == expected("hi", model)


async def test_images_are_accepted_where_the_model_sees(client: Bedrock) -> None:
    block = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
    message = {"role": "user", "content": [{"text": "look"}, block]}
    response = await client.converse(modelId=NOVA, messages=[message])
    assert response["usage"]["inputTokens"] == answer.prompt_tokens(["look"], images=1)
    with pytest.raises(ClientError, match="image content block"):
        await client.converse(modelId="amazon.nova-micro-v1:0", messages=[message])


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": [turn("a", "assistant")]}, "ValidationException", "must start with a user message"),
    ({"messages": [turn("a"), turn("b")]}, "ValidationException", "must alternate"),
    ({"messages": [turn("a"), turn("b", "assistant")]}, "ValidationException", "must end with a user message"),
    ({"messages": [turn(" ")]}, "ValidationException", "is blank"),
    ({"modelId": "mistral.mistral-7b-instruct-v0:2", "system": [{"text": "s"}]}, "ValidationException", "system mess"),
    ({"inferenceConfig": {"maxTokens": 10_001}}, "ValidationException", "exceeds the model limit of 10000"),
    ({"modelId": "amazon.nothing-v1:0"}, "ValidationException", "identifier is invalid"),
    ({"modelId": J2, "messages": [turn("a"), turn("b", "assistant"), turn("c")]}, "ValidationException", "history"),
    ({"modelId": "meta.llama3-8b-instruct-v1:0", "messages": [turn("x" * 40_000)]}, "ValidationException", "too long"),
    ({"messages": [turn("[[sim fault=retired]]")]}, "ResourceNotFoundException", "end of its life"),
    ({"messages": [turn("[[sim status=429]]")]}, "ThrottlingException", "Too many requests"),
    (
        {"messages": [turn("[[sim status=429 code=ModelNotReadyException]]")]},
        "ModelNotReadyException",
        "error occurred",
    ),
    ({"messages": [turn("[[sim status=503]]")]}, "ServiceUnavailableException", "error occurred"),
    ({"messages": [turn("[[sim status=500]]")]}, "InternalServerException", "error occurred"),
    ({"messages": [turn("[[sim status=403]]")]}, "AccessDeniedException", "error occurred"),
    ({"messages": [turn("[[sim fault=html status=503]]")]}, "503", "error occurred"),
]


@pytest.mark.parametrize(("change", "code", "words"), REFUSED)
async def test_the_vendors_rules_are_enforced(client: Bedrock, change: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        await client.converse(**{"modelId": NOVA, "messages": [turn("hi")], **change})
    assert caught.value.response["Error"]["Code"] == code


async def test_a_prefill_is_a_claude_thing(client: Bedrock) -> None:
    messages = [turn("a"), turn("b", "assistant")]
    assert await client.converse(modelId="anthropic.claude-3-haiku-20240307-v1:0", messages=messages)


async def test_an_unsigned_request_is_refused(simulator: Running) -> None:
    url = f"{simulator.bedrock}/model/{NOVA}/converse"
    async with aiohttp.ClientSession() as session, session.post(url, json={"messages": []}) as response:
        assert response.status == 403


async def test_an_exception_frame_has_its_code_in_lower_camel_case(client: Bedrock) -> None:
    with pytest.raises(EventStreamError) as caught:
        await events(client, "[[sim fault=error_event status=429 after=3]]")
    assert caught.value.response["Error"]["Code"] == "throttlingException"


async def test_a_reset_inside_a_stream_is_a_raw_payload_error(client: Bedrock, simulator: Running) -> None:
    for fault in ("cut", "fin"):
        with pytest.raises(aiohttp.ClientError):
            await events(client, f"[[sim fault={fault} after=3 key={fault}]]")
        assert simulator.calls.find(fault)[0].tokens_sent == 3


async def test_a_broken_frame_is_noticed(client: Bedrock) -> None:
    with pytest.raises(ChecksumMismatch):
        await events(client, "[[sim fault=garbage after=3]]")


@pytest.mark.parametrize("fault", ["early_end", "no_finish", "empty"])
async def test_a_tidy_end_without_message_stop_raises_nothing(client: Bedrock, fault: str) -> None:
    assert not [event for event in await events(client, f"[[sim fault={fault} after=3]]") if "messageStop" in event]


async def test_the_metadata_can_be_missing(client: Bedrock) -> None:
    assert "messageStop" in (await events(client, "[[sim fault=no_done]]"))[-1]
    assert "usage" not in (await events(client, "[[sim usage=missing]]"))[-1]["metadata"]


@pytest.mark.parametrize("fault", ["silence", "comments", "endless"])
async def test_closing_the_stream_is_noticed(client: Bedrock, simulator: Running, fault: str) -> None:
    text = f"[[sim fault={fault} after=3 key=open pace_ms=1]]"
    response = await client.converse_stream(modelId=NOVA, messages=[turn(text)])
    received = aiter(response["stream"])
    for _ in range(3):
        await anext(received)
    response["stream"].close()
    await simulator.calls.until(lambda log: bool(log.find("open", "client_gone")))


async def test_keep_alive_frames_are_skipped(client: Bedrock) -> None:
    assert text_of(await events(client, "[[sim keepalive=3]]"))


@pytest.mark.parametrize("fault", ["cut", "fin"])
async def test_a_broken_json_answer_raises(client: Bedrock, fault: str) -> None:
    with pytest.raises((HTTPClientError, aiohttp.ClientError)):
        await client.converse(modelId=NOVA, messages=[turn(f"[[sim fault={fault}]]")])


@pytest.mark.parametrize("fault", ["early_end", "garbage", "empty", "error_event", "html status=200"])
async def test_a_json_answer_that_is_none_has_no_output(client: Bedrock, fault: str) -> None:
    assert "output" not in await client.converse(modelId=NOVA, messages=[turn(f"[[sim fault={fault}]]")])


async def test_jurassic_answers_in_its_own_form(client: Bedrock) -> None:
    text = "hi [[sim tokens=12 unicode=1]]"
    response = await client.invoke_model(modelId=J2, body=json.dumps({"prompt": text, "maxTokens": 9}))
    body = json.loads(await response["body"].read())
    completion = body["completions"][0]
    assert completion["data"]["text"] == "".join(answer.answer(J2, text, from_message(text, DEFAULTS))[:9])
    assert completion["finishReason"] == {"reason": "length"}
    assert (len(body["prompt"]["tokens"]), len(completion["data"]["tokens"])) == (answer.prompt_tokens([text]), 9)
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-input-token-count"] == str(answer.prompt_tokens([text]))
    assert headers["x-amzn-bedrock-output-token-count"] == "9"


async def test_jurassic_cannot_stream(client: Bedrock) -> None:
    with pytest.raises(ClientError, match="unsupported for streaming"):
        await client.invoke_model_with_response_stream(modelId=J2, body=json.dumps({"prompt": "hi"}))
    with pytest.raises(ClientError, match="doesn't support the model"):
        await events(client, "hi", J2)


async def test_command_streams_chunks_and_the_last_has_the_metrics(client: Bedrock) -> None:
    text = "hi [[sim tokens=12 unicode=1 split=1]]"
    request = json.dumps({"prompt": text, "max_tokens": 50, "stream": True})
    response = await client.invoke_model_with_response_stream(modelId=COMMAND, body=request)
    chunks = [json.loads(event["chunk"]["bytes"]) async for event in response["body"]]
    assert "".join(chunk.get("text", "") for chunk in chunks) == expected(text, COMMAND)
    assert (chunks[-1]["is_finished"], chunks[-1]["finish_reason"]) == (True, "COMPLETE")
    assert chunks[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 12


async def test_command_answers_whole(client: Bedrock) -> None:
    response = await client.invoke_model(modelId=COMMAND, body=json.dumps({"prompt": "hi", "max_tokens": 8}))
    generation = json.loads(await response["body"].read())["generations"][0]
    assert generation["finish_reason"] == "MAX_TOKENS"
    assert generation["text"].startswith(f"[simulated {COMMAND}]")


async def test_an_unknown_field_of_a_native_body_is_refused(client: Bedrock) -> None:
    with pytest.raises(ClientError, match="maxTokens"):
        await client.invoke_model(modelId=COMMAND, body=json.dumps({"prompt": "hi", "maxTokens": 8}))
