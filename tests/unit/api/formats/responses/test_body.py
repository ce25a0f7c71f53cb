"""What `POST /v1/responses` takes, and what it refuses by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.formats.asked import Asked, Earlier
from api.formats.responses.chat import parse_response, parse_response_line
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
from shared.errors import InvalidRequest, NotFound
from shared.ids import new_id
from shared.job import Done
from shared.money import Usage
from shared.thoughts import Thought

IMAGE = "data:image/png;base64,AAAA"
CLOCK = {"type": "function", "name": "clock"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "noon"}
USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def parsed(given: Any = "hi", **fields: Any) -> Asked:
    return parse_response(json.dumps({"model": "m", "input": given, **fields}).encode())


def kept(asked: Asked) -> Any:
    assert asked.stored_input is not None
    return json.loads(asked.stored_input.input)


def test_everything_asked_for_arrives() -> None:
    asked = parsed(
        instructions="Be brief.",
        stream=True,
        stream_options={"include_obfuscation": False},
        max_output_tokens=9,
        temperature=1,
        top_p=0.5,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}, "verbosity": "medium"},
        tools=[{**CLOCK, "description": "Tells the time.", "parameters": SCHEMA, "strict": False}],
        tool_choice={"type": "function", "name": "clock"},
        parallel_tool_calls=False,
        safety_identifier="me",
        metadata={"order": "7"},
        truncation="disabled",
        service_tier="auto",
        include=[],
        top_logprobs=0,
    )
    assert (asked.model, asked.stream, asked.max_tokens, asked.metadata) == ("m", True, 9, {"order": "7"})
    assert asked.messages == [Message("system", "Be brief."), Message("user", "hi")]
    assert asked.sampling == Sampling(
        temperature=1,
        top_p=0.5,
        reasoning_effort="low",
        json_answer=JsonAnswer(name="n", schema=SCHEMA, strict=True),
        user="me",
    )
    clock = Tool(name="clock", description="Tells the time.", parameters=SCHEMA, strict=False)
    assert asked.tools == Tools(offered=(clock,), choice=ToolChoice("named", "clock"), parallel=False)
    assert (asked.ignored, asked.background, asked.at_once, asked.continues) == ((), False, None, None)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (USER, Message("user", "hi")),
        ({"type": "message", **USER}, Message("user", "hi")),
        ({"role": "developer", "content": [{"type": "input_text", "text": "a"}]}, Message("developer", "a")),
        ({"role": "system", "content": [{"type": "text", "text": "a"}]}, Message("system", "a")),
        (
            {"role": "user", "content": [{"type": "input_text", "text": t} for t in "ab"]},
            Message("user", [TextPart("a"), TextPart("b")]),
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE, "detail": "auto"}]},
            Message("user", [ImagePart(ImageUrl(IMAGE))]),
        ),
        (
            {
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "phase": "commentary",
                "content": [{"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}],
            },
            Message("assistant", "yes"),
        ),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, Message("assistant", "no")),
        ({"role": "assistant", "content": []}, Message("assistant", "")),
    ],
)
def test_messages_of_all_forms_are_taken(item: dict[str, Any], message: Message) -> None:
    asked = parsed([item, USER])
    assert asked.messages == [message, Message("user", "hi")]
    assert asked.ignored == ()


def test_what_says_its_type_and_what_does_not_ask_for_the_same() -> None:
    assert parsed([{"type": "message", **USER}]).fingerprint() == parsed([USER]).fingerprint()
    assert parsed([USER]).fingerprint() != parsed([{**USER, "content": "ho"}]).fingerprint()


@pytest.mark.parametrize(
    ("call", "output", "named", "result"),
    [
        (CALL, OUTPUT, ToolCall("call_1", "clock", "{}"), "noon"),
        (
            CALL,
            {**OUTPUT, "output": [{"type": "input_text", "text": "at "}, {"type": "input_image", "image_url": IMAGE}]},
            ToolCall("call_1", "clock", "{}"),
            [TextPart("at "), ImagePart(ImageUrl(IMAGE))],
        ),
        (
            {"type": "custom_tool_call", "call_id": "call_1", "name": "patch", "input": "*** \n"},
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"},
            ToolCall("call_1", "patch", '{"input":"*** \\n"}'),
            "done",
        ),
        (
            {
                "type": "local_shell_call",
                "call_id": "call_1",
                "action": {"type": "exec", "command": ["ls", "-l"], "env": {}},
            },
            {"type": "local_shell_call_output", "id": "call_1", "output": "x"},
            ToolCall("call_1", "local_shell", '{"type":"exec","command":["ls","-l"],"env":{}}'),
            "x",
        ),
        (
            {"type": "shell_call", "call_id": "call_1", "action": {"commands": ["ls"]}},
            {
                "type": "shell_call_output",
                "call_id": "call_1",
                "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
            },
            ToolCall("call_1", "shell", '{"commands":["ls"]}'),
            '[{"stdout":"a","stderr":"","outcome":{"type":"exit","exit_code":0}}]',
        ),
        (
            {"type": "apply_patch_call", "call_id": "call_1", "operation": {"type": "delete_file", "path": "a"}},
            {"type": "apply_patch_call_output", "call_id": "call_1", "status": "failed"},
            ToolCall("call_1", "apply_patch", '{"type":"delete_file","path":"a"}'),
            "failed",
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_calls_of_all_kinds_and_their_outputs_are_taken(
    call: dict[str, Any], output: dict[str, Any], named: ToolCall, result: Any
) -> None:
    assert parsed([USER, call, output]).messages == [
        Message("user", "hi"),
        Message("assistant", "", tool_calls=(named,)),
        Message("tool", result, tool_call_id="call_1"),
    ]


def test_what_is_left_of_another_services_answer_is_left_out_and_named() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "action": {"type": "search", "query": "q"},
        "status": "completed",
    }
    asked = parsed([reasoning, search, USER])
    assert asked.messages == [Message("user", "hi")]
    assert asked.ignored == ("input[].web_search_call", "input[].reasoning")
    assert asked.thoughts == ("input[].reasoning",)


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"include": ["message.output_text.logprobs"]}, ("include",)),
        ({"include": ["reasoning.encrypted_content"]}, ()),
        ({"text": {"verbosity": "low"}}, ("text.verbosity",)),
        ({"reasoning": {"summary": "auto"}}, ()),
        ({"reasoning": {}}, ()),
        ({"reasoning": {"effort": None}}, ()),
        ({"reasoning": {"summary": "detailed"}}, ()),
        ({"truncation": "auto"}, ("truncation",)),
        ({"service_tier": "priority"}, ("service_tier",)),
        ({"top_logprobs": 3}, ("top_logprobs",)),
        ({"prompt_cache_key": "k", "client_metadata": {"a": "b"}}, ("client_metadata",)),
        ({"prompt_cache_options": {"ttl": "12h"}}, ("prompt_cache_options.ttl",)),
        ({"metadata": {"a": "\0", "b": "c"}}, ("metadata",)),
        ({"tools": [{"type": "web_search", "filters": {"a": 1}}, CLOCK]}, ("tools[].web_search",)),
        ({"tools": [{"type": "tool_search", "execution": "client", "parameters": {}}]}, ("tools[].tool_search",)),
    ],
)
def test_a_wish_that_nothing_here_can_do_is_left_out_and_named(
    fields: dict[str, Any], ignored: tuple[str, ...]
) -> None:
    assert parsed(**fields).ignored == ignored


@pytest.mark.parametrize(
    ("given", "fields", "named"),
    [
        ([], {}, "`input`"),
        ([{"type": "reasoning", "id": "rs_1"}], {}, "`input`"),
        ([{"type": "computer_call_output", "call_id": "c", "output": {}}], {}, "input[0].type"),
        ([{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}], {}, "content[0].type"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], {}, "`image_url`"),
        ([{"role": "tool", "content": "x"}], {}, "input[0].role"),
        ([CALL], {}, "No tool output found for function call call_1"),
        ([OUTPUT], {}, "No tool call found for function call output with call_id call_1"),
        ([CALL, CALL, OUTPUT, OUTPUT], {}, "`call_id` twice"),
        ("hi", {"conversation": "conv_1"}, "`conversation`"),
        ("hi", {"prompt": {"id": "p"}}, "`prompt`"),
        ("hi", {"background": True, "store": False}, "`background`"),
        ("hi", {"stop": ["a"]}, "`stop`"),
        ("hi", {"response_format": {"type": "json_object"}}, "`response_format`"),
        ("hi", {"max_output_tokens": 0}, "max_output_tokens"),
        ("hi", {"tools": [{"type": "function"}]}, "`tools[0].name`"),
        ("hi", {"tools": [{"type": "computer_use_preview"}]}, "`tools[0].type`"),
        ("hi", {"tools": [CLOCK, CLOCK]}, "`tools` has 'clock' twice"),
        ("hi", {"tools": [CLOCK], "tool_choice": {"type": "function", "name": "bell"}}, "`tool_choice` names 'bell'"),
        ("hi", {"tools": [CLOCK], "tool_choice": {"type": "web_search"}}, "`tool_choice` names 'web_search'"),
        ("hi", {"tools": [{"type": "web_search"}], "tool_choice": "required"}, "`tool_choice` is `required`"),
        ("hi", {"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(given: Any, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(given, **fields)
    assert named in refused.value.message


def test_results_may_stand_anywhere_behind_their_calls() -> None:
    """Clients put outputs behind what the user said meanwhile, and answers come in several items."""
    second = {**CALL, "call_id": "call_2"}
    said = {"role": "assistant", "content": "Well."}
    messages = parsed([said, CALL, second, USER, {**OUTPUT, "call_id": "call_2"}, OUTPUT, USER]).messages
    calls = (ToolCall("call_1", "clock", "{}"), ToolCall("call_2", "clock", "{}"))
    assert messages == [
        Message("assistant", "Well.", tool_calls=calls),
        Message("tool", "noon", tool_call_id="call_1"),
        Message("tool", "noon", tool_call_id="call_2"),
        Message("user", "hi"),
        Message("user", "hi"),
    ]


def test_calls_one_after_the_other_are_answers_of_their_own() -> None:
    again = [CALL, OUTPUT, CALL, OUTPUT]
    assert [message.role for message in parsed([USER, *again]).messages] == ["user", *["assistant", "tool"] * 2]


def test_input_is_kept_as_items_unless_that_is_declined() -> None:
    assert kept(parsed("hi")) == [{"type": "message", **USER}]
    assert kept(parsed([USER, {"type": "reasoning", "id": "rs_1"}])) == [
        {"type": "message", **USER},
        {"type": "reasoning", "id": "rs_1"},
    ]
    assert parsed(store=False).stored_input is None


def test_a_response_in_the_background_answers_at_once_unless_it_is_streamed() -> None:
    request_id = new_id("req")
    asked = parsed(background=True)
    assert asked.at_once is not None
    answer = json.loads(asked.at_once(request_id, "m"))
    assert (answer["id"], answer["status"], answer["output"]) == (f"resp_{request_id[4:]}", "queued", [])
    streamed = parsed(background=True, stream=True)
    assert (streamed.background, streamed.at_once) == (True, None)


def earlier(text: str, *, said: str, calls: tuple[ToolCall, ...] = (), **fields: Any) -> Earlier:
    asked = parsed(text, **fields)
    assert asked.stored_input is not None
    done = Done("stop", Usage(1, 1), 0, said, calls)
    return Earlier(
        request_id=new_id("req"), repeated=asked.stored_input.repeated, input=asked.stored_input.input, done=done
    )


def test_a_response_goes_on_from_a_chain_of_earlier_ones() -> None:
    """Their instructions are not carried over."""
    call = ToolCall("call_1", "clock", "{}")
    first = earlier("one", said="1", instructions="Count.")
    second = earlier("two", said="", calls=(call,), tools=[CLOCK])
    asked = parsed([OUTPUT], previous_response_id=f"resp_{second.request_id[4:]}", instructions="Stop.")
    assert asked.continues is not None
    assert (asked.continues.previous, asked.continues.others) == (second.request_id, {})
    whole = asked.continues.whole([first, second], {})
    assert whole.messages == [
        Message("system", "Stop."),
        Message("user", "one"),
        Message("assistant", "1"),
        Message("user", "two"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "noon", tool_call_id="call_1"),
    ]
    assert whole.continues is None
    assert whole.stored_input is not None
    assert whole.stored_input.previous_id == second.request_id
    assert kept(whole) == [OUTPUT]


def test_items_of_earlier_responses_may_be_referred_to() -> None:
    call = ToolCall("call_1", "patch", '{"input":"x"}')
    one = earlier("one", said="1", calls=(call,), tools=[{"type": "custom", "name": "patch"}])
    rest = one.request_id[4:]
    items = [f"in_{rest}_0", f"msg_{rest}_0", f"ctc_{rest}_1"]
    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"}
    asked = parsed([*({"type": "item_reference", "id": item} for item in items), output])
    assert asked.continues is not None
    assert (asked.continues.previous, asked.continues.others) == (None, {one.request_id: items[-1]})
    whole = asked.continues.whole([], {one.request_id: one})
    assert whole.messages == [
        Message("user", "one"),
        Message("assistant", "1", tool_calls=(call,)),
        Message("tool", "done", tool_call_id="call_1"),
    ]
    assert [item["type"] for item in kept(whole)] == [
        "message",
        "message",
        "custom_tool_call",
        "custom_tool_call_output",
    ]
    unknown = parsed([{"type": "item_reference", "id": f"msg_{rest}_2"}])
    assert unknown.continues is not None
    with pytest.raises(NotFound, match=f"Item with id 'msg_{rest}_2' not found"):
        unknown.continues.whole([], {one.request_id: one})


@pytest.mark.parametrize("response", ["resp_1", "req_" + "0" * 26, "x", "resp_" + "0" * 27])
def test_what_can_be_no_response_is_not_found(response: str) -> None:
    with pytest.raises(NotFound, match=f"Previous response with id '{response}' not found"):
        parsed(previous_response_id=response)
    with pytest.raises(NotFound, match="Item with id"):
        parsed([{"type": "item_reference", "id": response}])


def test_a_line_of_a_batch_goes_on_from_nothing_and_is_kept_with_the_batch() -> None:
    asked = parse_response_line(json.dumps({"model": "m", "input": "hi"}).encode())
    assert asked.stored_input is not None
    assert json.loads(asked.stored_input.repeated)["store"] is False
    rest = "0" * 26
    for fields in ({"previous_response_id": f"resp_{rest}"}, {"background": True}):
        with pytest.raises(InvalidRequest, match=f"`{next(iter(fields))}`"):
            parse_response_line(json.dumps({"model": "m", "input": "hi", **fields}).encode())


@pytest.mark.parametrize(
    ("fields", "shown", "signed"),
    [
        ({}, False, False),
        ({"reasoning": {"effort": "high"}}, False, False),
        ({"reasoning": {"summary": "auto"}}, True, True),
        ({"reasoning": {"summary": "auto"}, "store": False}, True, False),
        ({"include": ["reasoning.encrypted_content"], "store": False}, False, True),
    ],
)
def test_thoughts_are_shown_by_a_summary_and_signed_to_be_given_back_or_gone_on_from(
    fields: dict[str, Any], *, shown: bool, signed: bool
) -> None:
    sampling = parsed(**fields).sampling
    assert (sampling.shows_thoughts, sampling.signs_thoughts) == (shown, signed)


def test_reasoning_items_come_back_in_their_places() -> None:
    def thought(text: str) -> dict[str, Any]:
        return {"type": "reasoning", "id": "rs_1", "summary": [{"text": text}, {"text": "b"}], "encrypted_content": "x"}

    said = {"role": "assistant", "content": "Well."}
    messages = parsed([USER, thought("a"), said, thought("c"), CALL, OUTPUT]).messages
    assert messages[1].thoughts == (Thought("a\n\nb", "x"), Thought("c\n\nb", "x", after_text=5))
    assert [message.role for message in messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("odd", [{"summary": None}, {"summary": ["x", {"text": 1}], "encrypted_content": {}}])
def test_what_is_no_thought_is_nothing(odd: dict[str, Any]) -> None:
    (_, said) = parsed(
        [USER, {"type": "reasoning", "id": "rs_1"} | odd, {"role": "assistant", "content": "Well."}]
    ).messages
    assert said.thoughts == (Thought("", ""),)


@pytest.mark.parametrize(
    "kind",
    [
        "compaction",
        "compaction_trigger",
        "mcp_approval_request",
        "mcp_approval_response",
        "additional_tools",
        "configuration_update",
        "program",
        "program_output",
    ],
)
def test_what_a_vendor_did_for_itself_is_left_out(kind: str) -> None:
    asked = parsed([{"type": kind, "id": "x", "anything": {"a": [1]}}, {"role": "user", "content": "Hi"}])
    assert asked.messages == [Message("user", "Hi")]
    assert f"input[].{kind}" in asked.ignored


@pytest.mark.parametrize(
    ("environment", "own"), [(None, True), ({"type": "local"}, True), ({"type": "container_auto"}, False)]
)
def test_a_shell_of_the_vendors_is_not_made_the_callers(environment: dict[str, str] | None, own: bool) -> None:  # noqa: FBT001
    asked = parsed("Hi", tools=[{"type": "shell", "environment": environment}])
    assert [tool.name for tool in asked.tools.offered] == ["shell"] * own
    assert ("tools[].shell" in asked.ignored) is not own


def test_the_output_of_a_local_shell_may_name_the_item_of_its_call() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    call = {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "action": action}
    asked = parsed([call, {"type": "local_shell_call_output", "id": "lsh_1", "output": "y"}])
    assert asked.messages[-1] == Message("tool", "y", tool_call_id="c1")


def test_only_what_goes_on_may_say_nothing_itself() -> None:
    with pytest.raises(InvalidRequest, match="`input` is missing"):
        parsed(None)
    assert parsed(None, previous_response_id="resp_" + "0" * 26).continues is not None
