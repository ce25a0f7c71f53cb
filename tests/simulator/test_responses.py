"""OpenAI's own SDK against the simulator's Responses API: its events, what is sealed, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from deploy.simulator import answer
from deploy.simulator.app import Running
from deploy.simulator.responses.sealed import Sealed, opened, seal
from tests.simulator.test_todays_models import png

Body = dict[str, Any]
ENCRYPTED = "reasoning.encrypted_content"
OBJECT: Body = {"type": "object", "properties": {"zone": {"type": "string"}}}
CLOCK: Body = {"type": "function", "name": "clock", "parameters": OBJECT, "strict": False}
THINKING: Body = {"include": [ENCRYPTED], "reasoning": {"effort": "low", "summary": "auto"}, "store": False}


@pytest.fixture(scope="module")
async def client(served: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=served.openai, max_retries=0) as made:
        yield made


def asked(text: str = "hi", model: str = "gpt-6-luna", **more: Any) -> Body:
    return {"model": model, "input": text, **more}


async def test_a_json_answer_has_its_items_and_tokens(client: openai.AsyncOpenAI) -> None:
    text = "hi [[sim tokens=9 reasoning=3 cached=2 written=5 written_long=4]]"
    response = await client.responses.create(**asked(text, **THINKING))
    thought, message = response.output
    assert (thought.type, message.type, response.status) == ("reasoning", "message", "completed")
    assert response.output_text.startswith("[simulated gpt-6-luna]")
    assert response.usage is not None
    details = response.usage.input_tokens_details
    assert (response.usage.input_tokens, response.usage.output_tokens) == (answer.prompt_tokens([text]), 12)
    assert (details.cached_tokens, details.cache_write_tokens) == (2, 5)
    assert response.usage.output_tokens_details.reasoning_tokens == 3


async def test_the_events_of_a_stream_are_numbered_and_in_order(client: openai.AsyncOpenAI) -> None:
    body = asked("hi [[sim reasoning=2 preface=1]]", **THINKING, tools=[CLOCK])
    events: list[Any] = [event async for event in await client.responses.create(**body, stream=True)]
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added"),
        *(["reasoning_summary_text.delta"] * 2),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        "output_item.added",
        *(["function_call_arguments.delta"] * kinds.count("function_call_arguments.delta")),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in events[-1].response.output] == ["reasoning", "message", "function_call"]


@pytest.mark.parametrize(
    ("directive", "status", "reason"),
    [
        ("tokens=40", "incomplete", "max_output_tokens"),
        ("tokens=3 finish=content_filter", "incomplete", "content_filter"),
        ("tokens=3 finish=failed", "failed", None),
    ],
)
async def test_an_answer_says_how_it_ended(
    client: openai.AsyncOpenAI, directive: str, status: str, reason: str | None
) -> None:
    body = asked(f"hi [[sim {directive}]]", max_output_tokens=16)
    response = await client.responses.create(**body)
    assert (response.status, response.incomplete_details and response.incomplete_details.reason) == (status, reason)
    stream = await client.responses.create(**body, stream=True)
    assert [event.type async for event in stream][-1] == f"response.{status}"


async def test_thinking_may_use_up_the_limit(client: openai.AsyncOpenAI) -> None:
    body = asked("hi [[sim reasoning=40]]", **THINKING, max_output_tokens=16)
    response = await client.responses.create(**body)
    assert [item.type for item in response.output] == ["reasoning"]
    (thought,) = response.output
    alone = [
        {"role": "user", "content": "hi"},
        thought.model_dump(exclude_unset=True),
        {"role": "user", "content": "so"},
    ]
    with pytest.raises(openai.BadRequestError, match="of type 'reasoning' was provided without its required following"):
        await client.responses.create(**asked() | {"input": alone})


async def loop(client: openai.AsyncOpenAI, change: Any) -> str:
    """A loop of tools whose second turn is changed by `change`."""
    first = await client.responses.create(**asked("hi [[sim calls=2 reasoning=3]]", **THINKING, tools=[CLOCK]))
    thought, *calls = (item.model_dump(exclude_unset=True) for item in first.output)
    results = [{"type": "function_call_output", "call_id": call["call_id"], "output": "ten"} for call in calls]
    items = change(thought, calls, results)
    talk = [{"role": "user", "content": "hi"}, *items]
    return (await client.responses.create(**asked(tools=[CLOCK], **THINKING) | {"input": talk})).output_text


LOOPS: list[tuple[Any, str]] = [
    (lambda thought, calls, results: [thought, *calls, *results], ""),
    (lambda thought, calls, results: [{**thought, "id": None}, *calls, *results], ""),
    (lambda thought, calls, results: [*calls, *results], ""),
    (lambda thought, calls, results: [*calls, *results, thought], "without its required following item"),
    (lambda thought, calls, results: [thought, *calls[::-1], *results], "without its required following item"),
    (lambda thought, calls, results: [{**thought, "encrypted_content": None}, *calls, *results], "not persisted when"),
    (
        lambda thought, calls, results: [
            {**thought, "encrypted_content": f"{thought['encrypted_content'][:-8]}AAAAAAA="},
            *calls,
            *results,
        ],
        "could not be verified",
    ),
    (
        lambda thought, calls, results: [{**thought, "id": "rs_other"}, *calls, *results],
        "did not match the target item",
    ),
    (lambda thought, calls, results: [{**thought, "id": "th_1"}, *calls, *results], "Expected an ID that begins with"),
    (lambda thought, calls, results: [thought, *calls, results[0]], "No tool output found for function call"),
    (lambda thought, calls, results: [*results], "No tool call found for function call output"),
    (lambda thought, calls, results: [thought, *calls, *results, results[0]], "No tool call found for function"),
]


@pytest.mark.parametrize(("change", "said"), LOOPS)
async def test_reasoning_goes_on_whole_and_in_its_place_only(
    client: openai.AsyncOpenAI, change: Any, said: str
) -> None:
    if not said:
        assert "The tool said: ten" in await loop(client, change)
        return
    with pytest.raises(openai.APIStatusError, match=said):
        await loop(client, change)


def test_what_was_sealed_elsewhere_is_not_opened() -> None:
    made = Sealed("rs_1", "call_1")
    assert opened(seal(made)) == made
    assert [opened(text) for text in ("", "gAAAA", "gAAAAx", seal(made)[5:], "gAAAA" + "A" * 60)] == [None] * 5


def items(*given: Body) -> Body:
    return {"input": list(given)}


USER: Body = {"role": "user", "content": "hi"}
CALL: Body = {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}"}
RESULT: Body = {"type": "function_call_output", "call_id": "call_1", "output": "ten"}


def image(detail: str) -> Body:
    url = f"data:image/png;base64,{png(8_000, 8_000)}"
    return {"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": detail}]}


REFUSED: list[tuple[Body, str]] = [
    ({"seed": 1}, "Unknown parameter: 'seed'."),
    ({"stop": ["x"]}, "Unknown parameter: 'stop'."),
    ({"max_completion_tokens": 20}, "Unknown parameter: 'max_completion_tokens'."),
    ({"max_output_tokens": 15}, "Expected a value >= 16, but got 15 instead"),
    ({"max_output_tokens": 16}, ""),
    ({"max_output_tokens": 128_001}, "integer above maximum value"),
    ({"model": "gpt-9"}, "The model `gpt-9` does not exist"),
    ({"input": []}, "Missing required parameter: 'input'"),
    ({"input": None}, "Missing required parameter: 'input'"),
    ({"temperature": 0.5}, "Unsupported parameter: 'temperature' is not supported with this model"),
    ({"temperature": 0.5, "reasoning": {"effort": "none"}}, ""),
    ({"temperature": 3, "reasoning": {"effort": "none"}}, "Invalid 'temperature'"),
    (
        {"reasoning": {"effort": "minimal"}},
        "'minimal' is not supported with the 'gpt-6-luna' model. Supported values are",
    ),
    ({"reasoning": {"effort": "none"}, "model": "gpt-6-astra"}, "'none' is not supported with the 'gpt-6-astra' model"),
    ({"reasoning": {"effort": "low"}, "model": "gpt-4o"}, "'reasoning.effort' is not supported with this model"),
    ({"reasoning": {"thinking": 1}}, "Unknown parameter: 'reasoning.thinking'"),
    ({"include": [ENCRYPTED], "model": "gpt-4o"}, "Encrypted content is not supported with this model"),
    ({"include": ["thoughts"]}, "Invalid value: 'thoughts'. Supported values are: 'reasoning.encrypted_content'"),
    ({"user": "x" * 65}, "Invalid 'user': string too long"),
    ({"tools": [{"type": "function", "function": {"name": "clock"}}]}, "Missing required parameter: 'tools[0].name'"),
    ({"tools": [{**CLOCK, "function": {}}]}, "Unknown parameter: 'tools[0].function'"),
    ({"tools": [{**CLOCK, "strict": True}]}, "Invalid schema for function 'clock'"),
    ({"tools": [CLOCK, CLOCK]}, "Tool names must be unique"),
    ({"tools": [{**CLOCK, "name": f"t{n}"} for n in range(129)]}, "Expected an array with maximum length 128"),
    ({"tools": [CLOCK], "tool_choice": {"type": "function", "name": "bell"}}, "Tool choice 'function' not found in"),
    ({"tool_choice": "required"}, "Tool choice 'required' must be specified with 'tools'"),
    ({"text": {"format": {"type": "json_object"}}}, "must contain the word 'json' in some form"),
    ({"text": {"format": {"type": "json_schema", "schema": OBJECT}}}, "Missing required parameter: 'text.format.name'"),
    (
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "array"}}}},
        "Invalid schema for response_format 'x'",
    ),
    (
        items({"role": "user", "content": [{"type": "text", "text": "hi"}]}),
        "Invalid value: 'text'. Supported values are",
    ),
    (items({"role": "user", "content": []}), "Invalid 'input[0].content': empty array"),
    (
        items(USER, {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}),
        "Invalid value: 'input_text'",
    ),
    (items({"role": "user", "text": "hi"}), "Unknown parameter: 'input[0].text'"),
    (items({"content": "hi"}), "Missing required parameter: 'input[0].role'"),
    (items(USER, {**CALL, "call_id": "x" * 65}), "Invalid 'input[1].call_id': string too long"),
    (items(USER, {**CALL, "call_id": ""}), "Invalid 'input[1].call_id': empty string"),
    (items(USER, {**CALL, "name": "a.b"}), "Invalid 'input[1].name': string does not match pattern"),
    (items(USER, CALL, CALL, RESULT), "Duplicate function call"),
    (items(USER, {"type": "reasoning", "encrypted_content": "x"}), "Missing required parameter: 'input[1].summary'"),
    (items(USER, {"type": "thought"}), "Invalid value: 'thought'"),
    (items(image("auto")), "patches after processing"),
    (items(image("high")), ""),
    (items(USER, CALL, {**RESULT, "output": image("high")["content"]}), ""),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
async def test_what_openai_refuses_is_refused_in_its_words(client: openai.AsyncOpenAI, change: Body, said: str) -> None:
    if not said:
        assert (await client.responses.create(**asked(), extra_body=change)).error is None
        return
    with pytest.raises(openai.APIStatusError) as refused:
        await client.responses.create(**asked(), extra_body=change)
    assert said in str(refused.value)


async def test_a_key_is_wanted(served: Running) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{served.openai}/responses", json=asked()) as refused:
        assert refused.status == 401


@pytest.mark.parametrize(("status", "kind"), [(429, "error"), (500, "response.failed")])
async def test_a_failure_amid_a_stream_is_an_event(client: openai.AsyncOpenAI, status: int, kind: str) -> None:
    seen: list[str] = []
    try:
        stream = await client.responses.create(
            **asked(f"hi [[sim tokens=9 fault=error_event after=4 status={status}]]"), stream=True
        )
        async for event in stream:
            seen.append(event.type)  # noqa: PERF401 - what came before a failure must be seen
    except openai.APIError:
        seen.append("error")
    assert seen[-1] == kind
