"""What `POST /v1/chat/completions` takes, and what it refuses by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.formats.asked import Asked
from api.formats.openai.chat import parse_completion
from shared.chat import (
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
from shared.errors import InvalidRequest
from shared.thoughts import Thought

USER = {"role": "user", "content": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "noon"}
CLOCK = {"type": "function", "function": {"name": "clock"}}
IMAGE = "data:image/png;base64,AAAA"


def parsed(*messages: Any, **fields: Any) -> Asked:
    body = {"model": "m", "messages": list(messages) or [USER], **fields}
    return parse_completion(json.dumps(body).encode())


def test_everything_asked_for_arrives() -> None:
    asked = parsed(
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        max_completion_tokens=9,
        temperature=1,
        top_p=0.5,
        stop=["a", "b"],
        seed=-1,
        frequency_penalty=-2,
        presence_penalty=2,
        reasoning_effort="low",
        user="me",
        metadata={"order": "7"},
    )
    assert (asked.model, asked.stream, asked.max_tokens, asked.metadata) == ("m", True, 9, {"order": "7"})
    assert asked.messages == [Message("user", "hi")]
    assert asked.sampling == Sampling(
        temperature=1,
        top_p=0.5,
        stop=("a", "b"),
        seed=-1,
        frequency_penalty=-2,
        presence_penalty=2,
        reasoning_effort="low",
        user="me",
    )


def test_one_stop_sequence_may_stand_alone() -> None:
    assert parsed(stop="x").sampling.stop == ("x",)


@pytest.mark.parametrize(
    "field", [name for name in parsed().body.__struct_fields__ if name not in {"model", "messages"}]
)
def test_null_is_the_same_as_not_given(field: str) -> None:
    asked = parsed(**{field: None})
    assert asked.fingerprint() == parsed().fingerprint()
    assert (asked.sampling, asked.tools, asked.max_tokens) == (Sampling(), Tools(), None)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "store": False},
        {"modalities": ["text"], "verbosity": "medium", "service_tier": "auto"},
        {"service_tier": "default", "response_format": {"type": "text"}, "metadata": {}},
        {"prompt_cache_key": None, "plugins": [], "provider": {}, "truncation": "auto"},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "stop": []},
        {"max_tokens": 5, "max_completion_tokens": 5},
    ],
)
def test_what_happens_anyway_may_be_asked_for(fields: dict[str, Any]) -> None:
    asked = parsed(**fields)
    assert (asked.sampling, asked.tools, asked.metadata) == (Sampling(), Tools(), None)
    assert (asked.wishes, asked.ignored) == ({}, ())


@pytest.mark.parametrize(("said", "tier"), [("flex", "flex"), ("auto", None), ("default", None), ("priority", None)])
def test_the_tier_flex_is_asked_for_by_name_and_makes_another_request_of_it(said: str, tier: str | None) -> None:
    asked = parsed(service_tier=said)
    assert asked.service_tier == tier
    assert asked.fingerprint() != parsed().fingerprint()
    assert asked.ignored == (("service_tier",) if said == "priority" else ())


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"streem": True, "min_p": 0.1}, ("streem", "min_p")),
        ({"stream": True, "stream_options": {"usage": True}}, ("stream_options.usage",)),
        ({"logprobs": True, "top_logprobs": 3, "store": True}, ("logprobs", "store", "top_logprobs")),
        ({"service_tier": "priority", "verbosity": "low"}, ("service_tier", "verbosity")),
        (
            {"prediction": {"type": "content", "content": "x"}, "web_search_options": {"a": 1}},
            ("prediction", "web_search_options"),
        ),
        ({"moderation": {"model": "x"}, "provider": {"order": ["other"]}}, ("provider", "moderation")),
        ({"tools": [CLOCK, {"type": "web_search", "user_location": {"city": "x"}}]}, ("tools[].web_search",)),
        ({"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]}, ("tools[].builtin_function",)),
        ({"tools": [{**CLOCK, "defer_loading": True}]}, ("tools[].defer_loading",)),
        ({"thinking": {"type": "adaptive", "display": "x"}}, ("thinking.display",)),
        ({"thinking": {"type": "disabled", "budget_tokens": 2_000}}, ("thinking.budget_tokens",)),
        ({"reasoning": {"enabled": False, "max_tokens": 2_000}}, ("reasoning.max_tokens",)),
        ({"cache_control": {}}, ("cache_control",)),
        ({"tools": [{**CLOCK, "cache_control": {}}]}, ("tools[].cache_control",)),
    ],
)
def test_what_nothing_here_knows_is_left_out_and_named(fields: dict[str, Any], ignored: tuple[str, ...]) -> None:
    assert parsed(**fields).ignored == ignored


@pytest.mark.parametrize(
    ("fields", "effort", "wishes"),
    [
        ({"reasoning_effort": "xhigh"}, "xhigh", {"reasoning_effort": ("reasoning_effort",)}),
        ({"reasoning": {"effort": "low"}}, "low", {"reasoning_effort": ("reasoning",)}),
        ({"reasoning": "high"}, "high", {"reasoning_effort": ("reasoning",)}),
        ({"reasoning": False}, "none", {"reasoning_effort": ("reasoning",)}),
        ({"reasoning": True}, None, {"thinking": ("reasoning",)}),
        ({"user": "x" * 5_000}, None, {"user": ("user",)}),
        ({"reasoning": {"enabled": False}}, "none", {"reasoning_effort": ("reasoning",)}),
        ({"reasoning": {"max_tokens": 9_000}}, "medium", {"thinking": ("reasoning",), "reasoning_effort": ()}),
        ({"include_reasoning": True}, None, {"shown_thoughts": ("include_reasoning",)}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1_024}},
            "low",
            {"thinking": ("thinking",), "reasoning_effort": ()},
        ),
        ({"top_k": 40, "safety_identifier": "s"}, None, {"top_k": ("top_k",), "user": ("safety_identifier",)}),
        (
            {"seed": 0, "frequency_penalty": 0.5, "presence_penalty": 0},
            None,
            {"seed": ("seed",), "frequency_penalty": ("frequency_penalty",)},
        ),
        ({"reasoning_effort": "default", "top_k": -1}, None, {}),
        (
            {"thinking": {"budget_tokens": 2_000}},
            "low",
            {"thinking": ("thinking",), "reasoning_effort": ()},
        ),
        ({"thinking": {}}, None, {}),
        ({"tools": [{**CLOCK, "cache_control": {"type": "ephemeral"}}]}, None, {"cache": ("tools[].cache_control",)}),
    ],
)
def test_wishes_are_known_by_the_fields_that_they_came_in(
    fields: dict[str, Any], effort: str | None, wishes: dict[str, tuple[str, ...]]
) -> None:
    asked = parsed(**fields)
    assert (asked.sampling.reasoning_effort, asked.wishes, asked.ignored) == (effort, wishes, ())


@pytest.mark.parametrize(
    ("fields", "effort", "ignored"),
    [
        (
            {"prompt_cache_retention": "1y", "prompt_cache_options": {"mode": "best", "ttl": "1y", "x": 1}},
            None,
            (
                "prompt_cache_options.x",
                "prompt_cache_options.ttl",
                "prompt_cache_options.mode",
                "prompt_cache_retention",
            ),
        ),
        ({"reasoning_effort": "utmost"}, None, ("reasoning_effort",)),
        ({"reasoning": "utmost"}, None, ("reasoning",)),
        ({"reasoning_effort": "high", "thinking": {"type": "disabled"}}, "high", ("thinking",)),
        ({"text": {"verbosity": "low"}}, None, ("text",)),
        ({"tools": [{"google_search": {"mode": "x"}}]}, None, ("tools[].google_search",)),
    ],
)
def test_what_nobody_does_is_left_out_and_named(
    fields: dict[str, Any], effort: str | None, ignored: tuple[str, ...]
) -> None:
    asked = parsed(**fields)
    assert (asked.sampling.reasoning_effort, asked.ignored, asked.tools) == (effort, ignored, Tools())


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        ({str(number): "v" for number in range(17)}, {str(number): "v" for number in range(16)}),
        ({"k" * 64: "v" * 512, "k" * 65: "", "": "", "a": "v" * 513}, {"k" * 64: "v" * 512}),
        ({"k": "\0", "\0": "v"}, None),
        ({"tags": ["a"], "trace": {"id": 1}, "n": 1, "name": "x"}, {"name": "x"}),
        ("some text", None),
    ],
)
def test_labels_are_wishes(labels: Any, kept: dict[str, str] | None) -> None:
    asked = parsed(metadata=labels)
    assert (asked.metadata, asked.ignored) == (kept, ("metadata",))


def test_labels_that_openais_api_takes_are_kept() -> None:
    labels = {str(number): "v" * 512 for number in range(16)}
    asked = parsed(metadata=labels)
    assert (asked.metadata, asked.ignored) == (labels, ())


def test_a_choice_of_some_tools_offers_only_those() -> None:
    bell = {"type": "function", "function": {"name": "bell"}}
    chosen = {"mode": "required", "tools": [{"type": "function", "function": {"name": "bell"}}]}
    asked = parsed(tools=[CLOCK, bell], tool_choice={"type": "allowed_tools", "allowed_tools": chosen})
    assert asked.tools == Tools(offered=(Tool(name="bell"),), choice=ToolChoice("required"))


def test_a_schema_may_come_with_an_object_of_json_as_other_services_take_it() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    for field in ("value", "schema"):
        asked = parsed(response_format={"type": "json_object", field: schema})
        assert asked.sampling.json_answer == JsonAnswer(schema=schema)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"stop": ""}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}}, "name"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "schema"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"stop_sequences": ["x"]}, "stop_sequences"),
        ({"response_format": {"type": "json_object", "json_schema": {"name": "n"}}}, "response_format.json_schema"),
        ({"guided_json": {"type": "object"}}, "guided_json"),
        ({"structured_outputs": {"choice": ["a"]}}, "structured_outputs"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format"),
        ({"stop_token_ids": [1]}, "stop_token_ids"),
        ({"max_output_tokens": 5}, "max_output_tokens"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"function_call": "auto"}, "tool_choice"),
        ({"reasoning": 5}, "reasoning"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "name"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 129}}]}, "name"),
        ({"tools": [{"type": "function", "function": {"name": "$web_search"}}]}, r"tools\[0\].function.name"),
        ({"tools": [{"function": {"name": "a\n"}}]}, r"tools\[0\].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": "{}"}}]}, "parameters"),
        ({"tools": [CLOCK, CLOCK]}, "clock"),
        ({"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "bell"}}}, "bell"),
        ({"tool_choice": {"type": "function", "function": {"name": "bell"}}}, "bell"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        parsed(**fields)


@pytest.mark.parametrize("field", ["n", "functions", "stream_options", "tool_choice"])
def test_a_refusal_has_the_field_as_a_parameter(field: str) -> None:
    values = {"n": 2, "functions": [], "stream_options": {}, "tool_choice": "required"}
    with pytest.raises(InvalidRequest) as refused:
        parsed(**{field: values[field]})
    assert refused.value.details["param"] == field


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"model":"m"}', b'{"messages":[]}', b'{"model":"m","messages":[]}']
)
def test_a_body_without_model_or_messages_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_completion(body)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"role": "system", "content": "s", "name": "x"}, Message("system", "s")),
        ({"role": "developer", "content": [{"type": "text", "text": "d"}]}, Message("developer", [TextPart("d")])),
        ({"role": "user", "content": ""}, Message("user", "")),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}]},
            Message("user", [ImagePart(ImageUrl(IMAGE))]),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "!"}]},
            Message("assistant", [TextPart("no"), TextPart("!")]),
        ),
        ({"role": "assistant", "content": None, "refusal": "no"}, Message("assistant", "no")),
        ({"role": "assistant", "content": ""}, Message("assistant", "")),
        ({"role": "assistant", "content": None}, Message("assistant", "")),
        ({"role": "assistant", "content": "a", "annotations": [{"type": "url_citation"}]}, Message("assistant", "a")),
        (
            {"role": "assistant", "content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]},
            Message("assistant", [TextPart("a")]),
        ),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "…"}]}, Message("assistant", "")),
        (
            {
                "role": "assistant",
                "content": "a",
                "refusal": None,
                "annotations": [],
                "audio": None,
                "function_call": None,
                "tool_calls": None,
                "parsed": None,
            },
            Message("assistant", "a"),
        ),
        ({"role": "assistant", "content": "a", "tool_calls": []}, Message("assistant", "a")),
        (
            {"role": "assistant", "content": [], "reasoning_content": "…"},
            Message("assistant", "", thoughts=(Thought("…"),)),
        ),
    ],
)
def test_messages_as_clients_send_them(sent: dict[str, Any], meant: Message) -> None:
    assert parsed(USER, sent).messages[1] == meant


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "robot", "content": "x"}, "role"),
        ({"role": "function", "name": "f", "content": "x"}, "role"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "type"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "type"),
        ({"role": "system", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}, "content"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "audio"),
        ({"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": ""}}, "function_call"),
        ({"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}, "type"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
    ],
)
def test_a_message_that_cannot_be_passed_on_is_refused_by_name(message: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        parsed(message)


def test_tools_arrive_with_choice_and_parallel() -> None:
    schema = {"type": "object", "properties": {"zone": {"type": "string"}}}
    function = {"name": "clock", "description": "Tells the time.", "parameters": schema, "strict": True}
    choice = {"type": "function", "function": {"name": "clock"}}
    asked = parsed(tools=[{"type": "function", "function": function}], tool_choice=choice, parallel_tool_calls=False)
    assert asked.tools == Tools(
        offered=(Tool(name="clock", description="Tells the time.", parameters=schema, strict=True),),
        choice=ToolChoice("named", "clock"),
        parallel=False,
    )


@pytest.mark.parametrize("mode", ["none", "auto", "required"])
def test_a_choice_is_a_mode(mode: Any) -> None:
    assert parsed(tools=[CLOCK], tool_choice=mode).tools.choice == ToolChoice(mode)


def test_a_choice_without_tools_is_none_at_all() -> None:
    assert parsed(tools=[], tool_choice="none").tools == Tools()


def test_calls_and_their_results_arrive() -> None:
    echoed = {**CALL, "index": 0, "function": {**CALL["function"], "parsed_arguments": {}}}  # type: ignore[dict-item]
    asked = parsed(USER, {**CALLS, "tool_calls": [echoed]}, {**RESULT, "name": "clock"}, USER)
    assert asked.messages[1:3] == [
        Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"),)),
        Message("tool", "noon", tool_call_id="call_1"),
    ]


def test_a_call_of_a_tool_that_another_service_ran_and_its_result_arrive() -> None:
    built_in = {
        "id": "web_search:0",
        "type": "builtin_function",
        "function": {"name": "$web_search", "arguments": "{}"},
    }
    asked = parsed(
        USER, {"role": "assistant", "tool_calls": [built_in]}, {**RESULT, "tool_call_id": "web_search:0"}, USER
    )
    assert asked.messages[1:3] == [
        Message("assistant", "", tool_calls=(ToolCall("web_search:0", "$web_search", "{}"),)),
        Message("tool", "noon", tool_call_id="web_search:0"),
    ]


@pytest.mark.parametrize("call_id", ["", "call_1__thought__" + "x" * 5_000, "functions.clock:0"])
def test_calls_that_another_service_made_keep_their_ids(call_id: str) -> None:
    asked = parsed(USER, {**CALLS, "tool_calls": [{**CALL, "id": call_id}]}, {**RESULT, "tool_call_id": call_id})
    assert asked.messages[1].tool_calls == (ToolCall(call_id, "clock", "{}"),)
    assert asked.messages[2] == Message("tool", "noon", tool_call_id=call_id)


@pytest.mark.parametrize("content", [None, "", []])
def test_a_result_may_be_empty(content: Any) -> None:
    assert parsed(USER, CALLS, {**RESULT, "content": content}).messages[2] == Message("tool", "", tool_call_id="call_1")


@pytest.mark.parametrize(
    ("details", "ignored"),
    [
        ([], ()),
        ([{"type": "reasoning.text", "text": "Hm.", "signature": "s"}], ()),
        ([{"type": "reasoning.text", "text": "Hm."}, {"type": "reasoning.encrypted", "data": "d"}], ()),
        ([{"type": "reasoning.text", "text": "Hm."}], ("messages[].reasoning_details",)),
        ([{"type": "newer", "signature": "s"}], ("messages[].reasoning_details",)),
        ([{"type": "reasoning.text", "text": 5, "signature": "s"}], ("messages[].reasoning_details",)),
        ("Hm.", ("messages[].reasoning_details",)),
    ],
)
def test_details_that_are_no_thoughts_are_named(details: object, ignored: tuple[str, ...]) -> None:
    said = {"role": "assistant", "content": "a", "reasoning_details": details}
    assert parsed(USER, said, USER).ignored == ignored


def test_what_of_earlier_answers_is_told_to_no_model_is_named_once() -> None:
    source = {"type": "url_citation", "url_citation": {"url": "https://a"}}
    said = {"role": "assistant", "content": [{"type": "thinking", "thinking": "…"}], "annotations": [source]}
    assert parsed(USER, said, USER, said, USER).ignored == ("messages[].content[].thinking", "messages[].annotations")
    assert parsed(USER, {**said, "mood": 1}, USER).ignored == (
        "messages[].mood",
        "messages[].content[].thinking",
        "messages[].annotations",
    )


SECOND = {**CALL, "id": "call_2"}


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([USER, RESULT], r"messages\[1\].tool_call_id"),
        ([CALLS, USER, RESULT], r"messages\[1\].*call_1"),
        ([CALLS], "call_1"),
        ([{**CALLS, "tool_calls": [CALL, SECOND]}, RESULT, USER], r"messages\[2\].*call_2"),
        ([CALLS, {**RESULT, "tool_call_id": "call_9"}], r"messages\[1\].tool_call_id"),
        ([CALLS, RESULT, RESULT], r"messages\[2\].tool_call_id"),
        ([{**CALLS, "tool_calls": [CALL, CALL]}, RESULT], "twice"),
        ([{**CALLS, "tool_calls": [{**CALL, "id": "é"}]}, RESULT], "id"),
        ([{**CALLS, "tool_calls": [{**CALL, "type": "custom"}]}, RESULT], "type"),
    ],
)
def test_calls_and_results_that_do_not_fit_are_refused(messages: list[Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        parsed(*messages)


def test_answers_to_several_calls_may_come_in_any_order() -> None:
    results = [{**RESULT, "tool_call_id": "call_2"}, RESULT]
    assert len(parsed({**CALLS, "tool_calls": [CALL, SECOND]}, *results).messages) == 3


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ({"type": "json_object"}, JsonAnswer()),
        (
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True}},
            JsonAnswer(name="a", schema={"type": "object"}, strict=True),
        ),
    ],
)
def test_the_form_of_the_answer_arrives(wanted: dict[str, Any], meant: JsonAnswer) -> None:
    assert parsed(response_format=wanted).sampling.json_answer == meant


@pytest.mark.parametrize(
    ("fields", "option", "name"),
    [
        ({"max_tokens": 3}, "max_tokens", "max_tokens"),
        ({"max_completion_tokens": 3}, "max_tokens", "max_completion_tokens"),
        ({}, "json_answer", "response_format"),
        ({}, "json_schema", "response_format"),
        ({}, "tool_choice", "tool_choice"),
        ({}, "messages", "messages"),
    ],
)
def test_options_have_the_names_of_the_api(fields: dict[str, Any], option: str, name: str) -> None:
    assert parsed(**fields).name_of(option) == name


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, False),
        ({"reasoning_effort": "high"}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"reasoning": {"effort": "high"}}, True),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"effort": "high", "exclude": True}}, False),
        ({"reasoning": "high"}, True),
        ({"reasoning": False}, False),
        ({"include_reasoning": True}, True),
        ({"include_reasoning": False, "reasoning": {"effort": "high"}}, False),
    ],
)
def test_thoughts_are_shown_where_a_field_of_other_services_asks_for_them(
    fields: dict[str, Any], *, shown: bool
) -> None:
    sampling = parsed(**fields).sampling
    assert (sampling.shows_thoughts, sampling.signs_thoughts) == (shown, shown)


DETAIL = {"type": "reasoning.text", "index": 0}


@pytest.mark.parametrize(
    ("fields", "thoughts"),
    [
        ({"reasoning_content": "Hm."}, (Thought("Hm."),)),
        ({"reasoning": "Hm."}, (Thought("Hm."),)),
        ({"reasoning_content": "Hm.", "reasoning_details": [{**DETAIL, "text": "Hm."}]}, (Thought("Hm."),)),
        (
            {"reasoning_content": "Hm.", "reasoning_details": [{**DETAIL, "text": "Hm.", "signature": "s"}]},
            (Thought("Hm.", "s"),),
        ),
        (
            {"reasoning_details": [{**DETAIL, "text": "H"}, {**DETAIL, "text": "m.", "signature": "s", "format": "x"}]},
            (Thought("Hm.", "s"),),
        ),
        (
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "s", "after_text": 3, "after_calls": 1}]},
            (Thought("", "s", after_text=3, after_calls=1),),
        ),
        ({"reasoning_content": ""}, ()),
    ],
)
def test_thoughts_come_back_as_services_have_them(fields: dict[str, Any], thoughts: tuple[Thought, ...]) -> None:
    asked = parsed(USER, {"role": "assistant", "content": "Well.", **fields}, USER)
    assert asked.messages[1].thoughts == thoughts
    assert asked.ignored == ()
    assert asked.thoughts == tuple(f"messages[].{name}" for name in fields if fields[name])


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("reasoning_details", [{**DETAIL, "text": "Hm."}, {"type": "reasoning.text", "text": 1}]),
        ("reasoning_details", ["x"]),
        ("reasoning_details", [{"type": "other", "data": "s"}]),
        ("reasoning_details", "x"),
        ("reasoning_details", {"type": "reasoning.text"}),
        ("reasoning_content", ["x"]),
        ("reasoning", 1),
        ("tool_calls[].extra_content", {"google": {"thought_signature": 1}}),
        ("tool_calls[].extra_content", "x"),
    ],
)
def test_thoughts_in_another_form_are_left_out_and_named(field: str, odd: Any) -> None:
    if field.startswith("tool_calls"):
        talk = [USER, {**CALLS, "tool_calls": [{**CALL, "extra_content": odd}]}, RESULT]
    else:
        talk = [USER, {"role": "assistant", "content": "Well.", field: odd}, USER]
    assert parsed(*talk).ignored == (f"messages[].{field}",)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"thinking": {"type": "zzz"}}, "`thinking.type` is 'zzz': it is one of enabled, adaptive, disabled"),
        ({"thinking": {"type": "enabled", "budget_tokens": -5}}, "`thinking.budget_tokens` is -5: it is 1024 at least"),
        ({"thinking": {"budget_tokens": 0}}, "`thinking.budget_tokens` is 0: it is 1024 at least"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2_000}, "max_completion_tokens": 2_000},
            "less than the output limit of 2000",
        ),
        ({"reasoning": {"max_tokens": 300}, "max_tokens": 300}, "`reasoning.max_tokens` is 300"),
        ({"reasoning": {"max_tokens": 0}}, "reasoning"),
    ],
)
def test_an_impossible_budget_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parsed(**fields)


def test_the_signature_of_a_call_comes_back_as_google_has_it() -> None:
    signed = {**CALLS, "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "s"}}}]}
    asked = parsed(USER, signed, RESULT)
    assert asked.messages[1].tool_calls == (ToolCall("call_1", "clock", "{}", "s"),)
    assert asked.thoughts == ("messages[].tool_calls[].extra_content",)
    odd: Any
    for odd in ({"google": {"thought_signature": 1}}, {"google": []}, "x"):
        other = {**CALLS, "tool_calls": [{**CALL, "extra_content": odd}]}
        assert parsed(USER, other, RESULT).messages[1].tool_calls == (ToolCall("call_1", "clock", "{}"),)
