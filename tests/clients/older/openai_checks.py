"""What the openai client gets of the service, in the words that all its major versions share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import openai
import pytest
from pydantic import BaseModel

MODEL = "openai-gpt-4o-mini"
KNOWN: dict[str, Any] = json.loads(os.environ["KNOWN"])
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
NUMBERS = count()


class Town(BaseModel):
    name: str
    inhabitants: int


class Counted:
    """A client, and how many requests it has made."""

    def __init__(self, key: str) -> None:
        self.requests = 0
        http = openai.DefaultHttpxClient(event_hooks={"request": [self._note]})
        self.client = openai.OpenAI(base_url=os.environ["BASE_URL"] + "/v1", api_key=key, http_client=http)

    def ask(self, text: str, **fields: Any) -> Any:
        return self.client.chat.completions.create(**asking(text, **fields))

    def _note(self, request: object) -> None:
        self.requests += 1


@pytest.fixture
def one() -> Iterator[Counted]:
    counted = Counted(os.environ["API_KEY"])
    with counted.client:
        yield counted


def asking(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def told(**script: Any) -> str:
    """A message that tells the simulator what to answer."""
    return f"[[sim {' '.join(f'{name}={value}' for name, value in {'first_ms': 0, 'pace_ms': 0, **script}.items())}]]"


def test_it_gets_a_completion(one: Counted) -> None:
    completion = one.ask(KNOWN["prompt"], max_tokens=200, seed=7, user="me")
    assert completion.choices[0].message.content == KNOWN["answer"]
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (KNOWN["inputTokens"], 60)
    assert completion._request_id == completion.id


def test_it_reads_a_stream_with_its_usage(one: Counted) -> None:
    chunks = list(one.ask(KNOWN["prompt"], stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == KNOWN["answer"]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == KNOWN["tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_answered(one: Counted, stream: bool) -> None:  # noqa: FBT001
    question = asking(told(calls=2, preface=2), tools=[WEATHER])
    message = whole(one, question, stream=stream).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"Sunny in {json.loads(call.function.arguments)['city']}."}
        for call in message.tool_calls
    ]
    talk = {**question, "messages": [*question["messages"], message, *results]}
    assert "Sunny in text." in whole(one, talk, stream=stream).choices[0].message.content


def whole(one: Counted, question: dict[str, Any], *, stream: bool) -> Any:
    """The completion, in one piece or put together by the client."""
    if not stream:
        return one.client.chat.completions.create(**question)
    with one.client.chat.completions.stream(**question) as events:
        return events.get_final_completion()


def test_an_answer_follows_a_schema(one: Counted) -> None:
    completion = one.client.chat.completions.parse(**asking(told()), response_format=Town)
    assert isinstance(completion.choices[0].message.parsed, Town)


def test_it_lists_models(one: Counted) -> None:
    assert MODEL in [model.id for model in one.client.models.list()]


@pytest.mark.parametrize(
    ("key", "fields", "error", "status", "code"),
    [
        ("rml_wrong", {}, openai.AuthenticationError, 401, "invalid_api_key"),
        (os.environ["POOR_KEY"], {}, openai.APIStatusError, 402, "insufficient_credit"),
        (os.environ["API_KEY"], {"model": "gpt-9"}, openai.NotFoundError, 404, "model_not_found"),
        (os.environ["API_KEY"], {"n": 2}, openai.BadRequestError, 400, "invalid_request"),
    ],
    ids=["key", "credit", "model", "field"],
)
def test_what_is_refused_is_asked_once(
    key: str, fields: dict[str, Any], error: type[openai.APIStatusError], status: int, code: str
) -> None:
    one = Counted(key)
    with one.client, pytest.raises(error) as raised:
        one.ask(told(), **fields)
    assert (raised.value.status_code, raised.value.code, one.requests) == (status, code, 1)
    assert (raised.value.request_id or "").startswith("req_")


def test_beyond_the_rate_it_is_told_how_long_to_wait() -> None:
    one = Counted(os.environ["SLOW_KEY"])
    hasty = one.client.with_options(max_retries=0).chat.completions
    with one.client:
        hasty.create(**asking(told()))
        with pytest.raises(openai.RateLimitError) as raised:
            hasty.create(**asking(told()))
    assert int(raised.value.response.headers["retry-after-ms"]) > 0


def test_a_vendors_failure_is_asked_again(one: Counted) -> None:
    key = f"older-{openai.__version__}-{os.getpid()}-{next(NUMBERS)}"
    assert one.ask(told(status=500, times=1, key=key, tokens=3)).usage.completion_tokens == 3
    assert one.requests == 2


def test_what_the_vendor_rejects_is_not_asked_again(one: Counted) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        one.ask(told(status=400))
    assert (raised.value.code, one.requests) == ("provider_rejected", 1)


def test_a_failure_on_the_way_is_raised_after_what_came_before(one: Counted) -> None:
    texts: list[str] = []
    with pytest.raises(openai.APIError, match="vendor"):
        texts.extend(chunk.choices[0].delta.content or "" for chunk in cut_stream(one))
    assert "".join(texts).startswith("[simulated")
    assert one.requests == 1


def cut_stream(one: Counted) -> Any:
    return one.ask(told(tokens=20, fault="cut", after=5, pace_ms=1), stream=True)
