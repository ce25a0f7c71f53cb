"""Tools and JSON answers in each vendor's words, and calls made of what vendors write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.answers import joined_calls
from shared.catalogue.models import load_catalogue
from shared.chat import (
    NO_TOOLS,
    CallPiece,
    ImagePart,
    ImageUrl,
    JsonAnswer,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Tools,
)
from shared.errors import AnswerTooLong, InvalidRequest, ProviderError
from workers.providers.bedrock import converse as bedrock_converse
from workers.providers.gemini import request as gemini_request
from workers.providers.openai import request as openai_request
from workers.providers.protocol import ProviderRequest, Thinking
from workers.providers.wire.conversation import arguments, conversation, refuse_tools
from workers.providers.wire.fitting import Fitted
from workers.providers.wire.instructions import fit
from workers.providers.wire.tool_calls import BEGINNINGS_BYTES_MAX, BYTES_PER_CALL, ToolCalls

CATALOGUE = load_catalogue()
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string"}}}
OFFERED = (Tool(name="weather", description="At a place.", parameters=SCHEMA, strict=True), Tool(name="clock"))
CALLS = (ToolCall("call_1", "weather", '{"place": "Oslo"}'), ToolCall("call_2", "clock", ""))
TALK = [
    Message("system", "Be brief."),
    Message("user", "Weather?"),
    Message("assistant", "", tool_calls=CALLS),
    Message("tool", "five past ten", tool_call_id="call_2"),
    Message("tool", '{"rain": 3}', tool_call_id="call_1"),
    Message("user", "And?"),
]


def request(
    name: str, messages: list[Message] = TALK, tools: Tools = NO_TOOLS, sampling: Sampling | None = None
) -> ProviderRequest:
    model = CATALOGUE.find(name)
    return ProviderRequest(
        id="req_1",
        model=model,
        messages=fit(messages, model),
        sampling=sampling or Sampling(),
        output_limit=100,
        stream=False,
        tools=tools,
    )


# OpenAI


def test_openai_is_told_of_calls_and_results_in_its_words() -> None:
    asked = openai_request.parameters(request("openai-gpt-4o"))
    weather = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Oslo"}'}}
    clock = {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    assert asked["messages"][2:] == [
        {"role": "assistant", "content": None, "tool_calls": [weather, clock]},
        {"role": "tool", "tool_call_id": "call_2", "content": "five past ten"},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"rain": 3}'},
        {"role": "user", "content": "And?"},
    ]
    assert "tools" not in asked


def test_openai_is_offered_tools_in_its_words() -> None:
    tools = Tools(offered=OFFERED, choice=ToolChoice("named", "clock"), parallel=False)
    asked = openai_request.parameters(request("openai-gpt-4o", tools=tools))
    weather = {"name": "weather", "description": "At a place.", "parameters": SCHEMA, "strict": True}
    assert asked["tools"] == [
        {"type": "function", "function": weather},
        {"type": "function", "function": {"name": "clock"}},
    ]
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "clock"}}
    assert asked["parallel_tool_calls"] is False


@pytest.mark.parametrize("model", ["openai-o1", "openai-o3-mini", "deepseek-chat"])
def test_one_call_at_a_time_is_no_word_for_who_does_not_know_it(model: str) -> None:
    asked = openai_request.parameters(request(model, tools=Tools(offered=OFFERED, parallel=False)))
    assert "parallel_tool_calls" not in asked


def test_openai_is_not_told_what_is_the_default() -> None:
    asked = openai_request.parameters(
        request(
            "openai-o1",
            tools=Tools(offered=OFFERED, parallel=True),
            sampling=Sampling(frequency_penalty=0, presence_penalty=0),
        )
    )
    assert not {"parallel_tool_calls", "tool_choice", "frequency_penalty", "presence_penalty"} & set(asked)


def test_openai_is_asked_for_the_rest_in_its_words() -> None:
    sampling = Sampling(
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=-1,
        reasoning_effort="high",
        user="someone",
        json_answer=JsonAnswer(name="town", schema=SCHEMA, strict=True),
    )
    asked = openai_request.parameters(request("openai-gpt-4o", sampling=sampling))
    schema = {"name": "town", "schema": SCHEMA, "strict": True}
    rest = {
        "seed": 7,
        "frequency_penalty": 0.5,
        "presence_penalty": -1,
        "reasoning_effort": "high",
        "user": "someone",
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    assert {name: asked[name] for name in rest} == rest
    loose = openai_request.parameters(request("openai-gpt-4o", sampling=Sampling(json_answer=JsonAnswer())))
    assert loose["response_format"] == {"type": "json_object"}


def test_deepseek_is_not_told_what_it_does_not_know() -> None:
    tools = Tools(offered=OFFERED)
    asked = openai_request.parameters(request("deepseek-chat", tools=tools, sampling=Sampling(user="someone")))
    assert "user" not in asked
    assert "strict" not in asked["tools"][0]["function"]
    assert "reasoning_content" not in asked["messages"][2]


def test_deepseeks_thinking_model_gets_its_thoughts_back_though_empty() -> None:
    asked = openai_request.parameters(request("deepseek-reasoner"))
    assert [message.get("reasoning_content") for message in asked["messages"]] == [None, None, "", None, None, None]


# Converse


def test_converse_is_told_of_calls_and_results_in_its_words() -> None:
    asked = bedrock_converse.parameters(request("anthropic-claude-3-haiku", tools=Tools(offered=OFFERED)))
    assert asked["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"place": "Oslo"}}},
                {"toolUse": {"toolUseId": "call_2", "name": "clock", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": '{"rain": 3}'}]}},
                {"toolResult": {"toolUseId": "call_2", "content": [{"text": "five past ten"}]}},
                {"text": "And?"},
            ],
        },
    ]
    weather = {"name": "weather", "description": "At a place.", "inputSchema": {"json": SCHEMA}}
    clock = {"name": "clock", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert asked["toolConfig"] == {"tools": [{"toolSpec": weather}, {"toolSpec": clock}]}


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ToolChoice("auto"), None),
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("named", "clock"), {"tool": {"name": "clock"}}),
    ],
)
def test_converse_is_told_of_a_choice(choice: ToolChoice, told: dict[str, Any] | None) -> None:
    asked = bedrock_converse.parameters(request("amazon-nova-lite", tools=Tools(offered=OFFERED, choice=choice)))
    assert asked["toolConfig"].get("toolChoice") == told


@pytest.mark.parametrize("tools", [NO_TOOLS, Tools(offered=OFFERED, choice=ToolChoice("none"))])
def test_converse_reads_calls_as_text_where_nothing_may_be_called(tools: Tools) -> None:
    asked = bedrock_converse.parameters(request("amazon-nova-lite", tools=tools))
    assert "toolConfig" not in asked
    assert asked["messages"][1]["content"] == [
        {"text": '[I called the tool weather with {"place": "Oslo"}]'},
        {"text": "[I called the tool clock with {}]"},
    ]
    assert asked["messages"][2]["content"][0] == {"text": '[The tool weather said: {"rain": 3}]'}


def test_a_tool_that_said_nothing_is_no_blank_block() -> None:
    silent = [*TALK[:2], Message("assistant", "", tool_calls=CALLS[:1]), Message("tool", " ", tool_call_id="call_1")]
    asked = bedrock_converse.parameters(request("amazon-nova-lite", silent, Tools(offered=OFFERED)))
    assert asked["messages"][-1]["content"][0]["toolResult"]["content"] == [{"text": "(no output)"}]


@pytest.mark.parametrize(
    ("name", "tools", "streams"),
    [
        ("meta-llama3-1-70b", Tools(offered=OFFERED), False),
        ("meta-llama3-1-70b", Tools(offered=OFFERED, choice=ToolChoice("none")), True),
        ("meta-llama3-1-70b", NO_TOOLS, True),
        ("mistral-mistral-large", Tools(offered=OFFERED), False),
        ("amazon-nova-lite", Tools(offered=OFFERED), True),
        ("a21-jurassic-2-mid", NO_TOOLS, False),
    ],
)
def test_some_models_do_not_stream_with_tools(name: str, tools: Tools, streams: bool) -> None:  # noqa: FBT001
    assert CATALOGUE.find(name).streams_with(tools) is streams


# Gemini


def test_gemini_is_told_of_calls_and_results_in_its_words() -> None:
    asked = request("google-gemini-2.0-flash", tools=Tools(offered=OFFERED))
    fields = gemini_request.large_fields(asked)
    _, model, results, user = fields["contents"]
    assert model["parts"] == [
        {"functionCall": {"name": "weather", "args": {"place": "Oslo"}}},
        {"functionCall": {"name": "clock", "args": {}}},
    ]
    assert results["parts"] == [
        {"functionResponse": {"name": "weather", "response": {"output": '{"rain": 3}'}}},
        {"functionResponse": {"name": "clock", "response": {"output": "five past ten"}}},
    ]
    assert user == {"role": "user", "parts": [{"text": "And?"}]}
    declared = [
        {"name": "weather", "description": "At a place.", "parametersJsonSchema": SCHEMA},
        {"name": "clock"},
    ]
    assert fields["tools"] == [{"functionDeclarations": declared}]
    assert gemini_request.parameters(asked)["config"].tool_config is None


@pytest.mark.parametrize(
    ("choice", "mode", "only"),
    [
        (ToolChoice("auto"), "AUTO", None),
        (ToolChoice("none"), "NONE", None),
        (ToolChoice("required"), "ANY", None),
        (ToolChoice("named", "clock"), "ANY", ["clock"]),
    ],
)
def test_gemini_is_told_of_a_choice(choice: ToolChoice, mode: str, only: list[str] | None) -> None:
    asked = gemini_request.parameters(request("google-gemini-2.0-flash", tools=Tools(offered=OFFERED, choice=choice)))
    calling = asked["config"].tool_config.function_calling_config
    assert (calling.mode, calling.allowed_function_names) == (mode, only)


def test_gemini_is_asked_for_the_rest_in_its_words() -> None:
    sampling = Sampling(seed=7, frequency_penalty=0.5, presence_penalty=0, json_answer=JsonAnswer(schema=SCHEMA))
    asked = request("google-gemini-2.0-flash", sampling=sampling)
    config = gemini_request.parameters(asked)["config"]
    assert (config.seed, config.frequency_penalty, config.presence_penalty) == (7, 0.5, None)
    assert config.response_mime_type == "application/json"
    assert gemini_request.large_fields(asked)["generationConfig"] == {"responseJsonSchema": SCHEMA}


# conversations


def test_results_stand_first_in_the_users_turn_in_the_order_of_the_calls() -> None:
    talk = conversation(TALK)
    assert [turn.role for turn in talk.turns] == ["user", "assistant", "user"]
    assert [getattr(part, "text", None) for part in talk.turns[2].parts] == ['{"rain": 3}', "five past ten", "And?"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([*TALK[:2], Message("tool", "x", tool_call_id="call_9")], "call_9"),
        ([*TALK, Message("tool", "x", tool_call_id="call_1")], "call_1"),
        ([*TALK[:4], Message("user", "And?")], "call_1"),
        ([*TALK[:3]], "call_1.*call_2"),
        ([*TALK[:2], Message("tool", "x")], "''"),
    ],
    ids=["unknown", "late", "interrupted", "unanswered", "without an id"],
)
def test_calls_and_results_belong_together(messages: list[Message], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        conversation(messages)


PICTURE = ImagePart(ImageUrl("data:image/png;base64,AAAA"))


def shown(*content: TextPart | ImagePart) -> list[Message]:
    """A talk in which the tool's result is this."""
    called = Message("assistant", "", tool_calls=CALLS[:1])
    return [*TALK[:2], called, Message("tool", list(content), tool_call_id="call_1")]


@pytest.mark.parametrize("name", ["anthropic-claude-3-haiku", "amazon-nova-lite"])
def test_claude_and_nova_see_an_image_within_a_tools_result(name: str) -> None:
    picture = {"image": {"format": "png", "source": {"bytes": b"\0\0\0"}}}
    for talk, content in ((shown(TextPart("look"), PICTURE), [{"text": "look"}, picture]), (shown(PICTURE), [picture])):
        asked = bedrock_converse.parameters(Fitted(request(name, talk, Tools(offered=OFFERED))).request)
        assert asked["messages"][-1]["content"] == [{"toolResult": {"toolUseId": "call_1", "content": content}}]
        written = bedrock_converse.parameters(Fitted(request(name, talk)).request)
        assert written["messages"][-1]["content"][1] == picture


def test_others_see_it_after_the_last_result() -> None:
    both = Message("assistant", "", tool_calls=CALLS)
    results = [
        Message("tool", [TextPart("look"), PICTURE], tool_call_id="call_1"),
        Message("tool", [PICTURE, PICTURE], tool_call_id="call_2"),
    ]
    asked = openai_request.parameters(Fitted(request("openai-gpt-4o", [*TALK[:2], both, *results, TALK[-1]])).request)
    seen = {"type": "image_url", "image_url": {"url": PICTURE.image_url.url}}
    assert asked["messages"][3:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "look"},
        {"role": "tool", "tool_call_id": "call_2", "content": "(see the image)"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Images in the result of weather (call_1):"},
                seen,
                {"type": "text", "text": "Images in the result of clock (call_2):"},
                seen,
                seen,
            ],
        },
        {"role": "user", "content": "And?"},
    ]


def test_llama_and_gemini_see_it_beside_the_result() -> None:
    llama = bedrock_converse.parameters(
        Fitted(request("meta-llama3-2-90b", shown(TextPart("look"), PICTURE), Tools(offered=OFFERED))).request
    )
    assert [list(block) for block in llama["messages"][-1]["content"]] == [["toolResult"], ["text"], ["image"]]
    gemini = gemini_request.large_fields(
        Fitted(request("google-gemini-2.0-flash", shown(TextPart("look"), PICTURE), Tools(offered=OFFERED))).request
    )
    results, images = gemini["contents"][-2:]
    assert [part["functionResponse"]["response"] for part in results["parts"]] == [{"output": "look"}]
    label, image = images["parts"]
    assert (label, image["inlineData"]["mimeType"]) == (
        {"text": "Images in the result of weather (call_1):"},
        "image/png",
    )


@pytest.mark.parametrize(
    "written", ["{", '{"place": "Os', "[1]", "7", "nonsense", '"x"', '"[1]"', "{}{}", '{"a": "\\ud83d"}']
)
def test_arguments_of_the_past_that_are_no_object_stand_whole_as_the_only_one(written: str) -> None:
    assert arguments(ToolCall("call_1", "weather", written)) == {"invalid_arguments": written}


@pytest.mark.parametrize("written", ["", " \n", "null", " null ", "{}", '"null"'])
def test_no_arguments_are_none_however_they_are_written(written: str) -> None:
    assert arguments(ToolCall("call_1", "weather", written)) == {}


def test_arguments_that_were_encoded_twice_are_read() -> None:
    written = json.dumps(json.dumps({"place": "Oslo"}))
    assert arguments(ToolCall("call_1", "weather", written)) == {"place": "Oslo"}


@pytest.mark.parametrize("written", ["{" * 100_000, '{"x":' * 200 + "0" + "}" * 200, "[" + "[]," * 500_000 + "0]"])
def test_arguments_beyond_the_bounds_are_named_and_not_decoded(written: str) -> None:
    with pytest.raises(
        InvalidRequest, match=r"the tool call 'call_1' .*(has more than \d+ values|is nested too deeply)"
    ):
        arguments(ToolCall("call_1", "weather", written))


@pytest.mark.parametrize("name", ["openai-gpt-4o-rt-preview", "cohere-command-text-v1"])
def test_apis_without_tools_refuse_them(name: str) -> None:
    refuse_tools(request(name, TALK[:2]))
    for asked in (request(name), request(name, TALK[:2], Tools(offered=OFFERED))):
        with pytest.raises(InvalidRequest, match=name):
            refuse_tools(asked)


def test_folding_leaves_calls_and_results_as_they_are() -> None:
    folded = fit(TALK, CATALOGUE.find("openai-o1-mini"))
    assert folded == [Message("user", "Be brief.\n\nWeather?"), *TALK[2:]]
    late = fit([*TALK[2:5], TALK[0]], CATALOGUE.find("openai-o1-mini"))
    assert late == [Message("user", "Be brief."), *TALK[2:5]]


# calls in answers


Said = tuple[int, str, str | None, str | None]


def heard(*said: Said, reason: str = "stop") -> list[CallPiece | Thinking]:
    calls = ToolCalls()
    pieces = [piece for index, text, id, name in said for piece in calls.feed(index, text, call_id=id, name=name)]  # noqa: A001
    return [*pieces, *calls.end(reason)]


def fed(*said: Said, reason: str = "stop") -> list[CallPiece]:
    return [piece for piece in heard(*said, reason=reason) if isinstance(piece, CallPiece)]


def test_indexes_are_places_whatever_the_vendor_counts() -> None:
    pieces = fed((3, "{", "a", "f"), (7, "{", "b", "g"), (3, "}", None, None), (7, "}", None, None))
    assert [piece.index for piece in pieces] == [0, 1, 0, 1]
    assert joined_calls(pieces) == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}"))


def test_a_second_call_at_the_same_index_is_a_second_call() -> None:
    pieces = fed((0, "{}", "a", "f"), (0, "{}", "b", "f"), (0, " ", "b", "f"))
    assert joined_calls(pieces) == (ToolCall("a", "f", "{}"), ToolCall("b", "f", "{} "))


def test_a_call_without_an_id_gets_one() -> None:
    (first,), (second,) = fed((0, "{}", None, "f")), fed((0, "{}", "", "f"))
    assert first.id is not None
    assert second.id is not None
    assert first.id != second.id
    assert first.id.startswith("call_")


def test_ids_and_names_are_whole_characters() -> None:
    said = ("call_\ud800", "na\udc00me")
    first, second = fed((0, "{", *said), (0, "}", *said))  # some vendors say it every time
    assert (first.id, first.name) == ("call_\ufffd", "na\ufffdme")
    assert (second.index, second.id, second.arguments) == (0, None, "}")


def test_what_comes_before_a_calls_name_is_held_back_until_the_name_comes() -> None:
    first = heard((0, '{"a": "\ud83d', "a", None), (0, "\ude42", None, None), (0, '"', None, "f"), (0, "}", None, None))
    assert first == [Thinking(), Thinking(), CallPiece(0, '{"a": "🙂"', "a", "f"), CallPiece(0, "}")]
    both = heard((0, "{", None, None), (1, "{}", "b", "g"), (0, "}", "a", "f"))
    assert both == [Thinking(), CallPiece(0, "{}", "b", "g"), CallPiece(1, "{}", "a", "f")]


def test_a_name_that_comes_without_arguments_or_an_id_ends_the_wait_too() -> None:
    (call,) = joined_calls(fed((0, "{}", None, None), (0, "", None, "f")))
    assert (call.name, call.arguments) == ("f", "{}")
    assert call.id.startswith("call_")
    assert joined_calls(fed((0, "", "a", None), (0, "", None, "f"))) == (ToolCall("a", "f", "{}"),)


def test_a_call_that_never_has_a_name_is_no_answer_unless_it_was_cut_off() -> None:
    with pytest.raises(ProviderError):
        fed((0, "{}", "a", "f"), (1, "{}", "b", None))
    assert joined_calls(fed((0, "{}", "a", "f"), (1, "{", "b", None), reason="length")) == (ToolCall("a", "f", "{}"),)


@pytest.mark.parametrize("named", [None, "f"])
def test_what_two_calls_say_before_a_name_is_not_made_one(named: str | None) -> None:
    with pytest.raises(ProviderError):
        fed((0, "{", "a", None), (0, "}", "b", named))


@pytest.mark.parametrize("arguments", ["x" * 100_000, "x", ""])
def test_what_comes_before_a_name_has_a_bound(arguments: str) -> None:
    calls = ToolCalls()
    for _ in range(BEGINNINGS_BYTES_MAX // (BYTES_PER_CALL + len(arguments))):
        assert list(calls.feed(0, arguments)) == [Thinking()]
    with pytest.raises(AnswerTooLong):
        list(calls.feed(0, arguments))


@pytest.mark.parametrize(("call_id", "name"), [("x" * 100_000, "f"), ("x", "f" * 100_000), (None, "f")])
def test_calls_without_end_are_no_answer(call_id: str | None, name: str) -> None:
    """However little is said with them: their ids and names are no text, and would fill Redis all the same."""
    calls = ToolCalls()
    most = BEGINNINGS_BYTES_MAX // (BYTES_PER_CALL + len(call_id or "") + len(name))
    begun = [list(calls.feed(n, "", call_id=call_id and f"{n % 10}{call_id[1:]}", name=name)) for n in range(most)]
    assert all(begun)
    with pytest.raises(AnswerTooLong):
        list(calls.feed(most, "", call_id=call_id and f"{most % 10}{call_id[1:]}", name=name))


def test_a_call_without_arguments_has_empty_ones_unless_it_was_cut() -> None:
    assert joined_calls(fed((0, "", "a", "f"))) == (ToolCall("a", "f", "{}"),)
    assert joined_calls(fed((0, "", "a", "f"), reason="length")) == (ToolCall("a", "f", ""),)


def test_halves_of_a_character_are_joined_in_each_call() -> None:
    pieces = fed((0, '"\ud83d', "a", "f"), (1, '"\ud83d', "b", "g"), (0, '\ude42"', None, None))
    assert [call.arguments for call in joined_calls(pieces)] == ['"🙂"', '"\ufffd']
    assert all(json.dumps(piece.arguments).isascii() for piece in pieces)


@pytest.mark.parametrize(("reason", "called"), [("stop", "tool_calls"), ("length", "length"), ("content_filter",) * 2])
def test_who_stopped_with_calls_stopped_for_them(reason: str, called: str) -> None:
    calls = ToolCalls()
    assert calls.reason(reason) == reason
    list(calls.feed(0, "{}", call_id="a", name="f"))
    assert calls.reason(reason) == called
