"""What each of the 111 models can be asked for, as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.catalogue.abilities import json_form, nearest, tools_max, unavailable
from shared.catalogue.models import Model, load_catalogue
from shared.chat import NO_TOOLS, JsonAnswer, Message, Sampling, Tool, ToolCall, ToolChoice, Tools

CATALOGUE = load_catalogue()
CLOCK = (Tool(name="clock"),)
NOTHING = Sampling()
HELLO = [Message("user", "Hello")]
SCHEMA = {"type": "object", "properties": {}}
ASKED: dict[str, tuple[str, Sampling, Tools]] = {
    "tools": ("tools", NOTHING, Tools(offered=CLOCK)),
    "required": ("tool_choice", NOTHING, Tools(offered=CLOCK, choice=ToolChoice("required"))),
    "named": ("tool_choice", NOTHING, Tools(offered=CLOCK, choice=ToolChoice("named", "clock"))),
    "json": ("json_answer", Sampling(json_answer=JsonAnswer()), NO_TOOLS),
    "schema": ("json_schema", Sampling(json_answer=JsonAnswer(schema=SCHEMA)), NO_TOOLS),
    "seed": ("seed", Sampling(seed=0), NO_TOOLS),
    "frequency": ("frequency_penalty", Sampling(frequency_penalty=0.1), NO_TOOLS),
    "presence": ("presence_penalty", Sampling(presence_penalty=-0.1), NO_TOOLS),
    "effort": ("reasoning_effort", Sampling(reasoning_effort="low"), NO_TOOLS),
    "temperature": ("temperature", Sampling(temperature=0), NO_TOOLS),
    "top_p": ("top_p", Sampling(top_p=1), NO_TOOLS),
    "top_k": ("top_k", Sampling(top_k=5), NO_TOOLS),
    "stop": ("stop", Sampling(stop=("x",)), NO_TOOLS),
}
BASIC = "temperature top_p stop"
PENALTIES = "frequency presence"
NO_PENALTIES = ("frequency_penalty", "presence_penalty")
FORCED = "tools required named json schema"
TABLE = {
    "seed stop": "openai-o1-mini",
    f"{FORCED} seed effort": "openai-gpt-6.2-astra openai-gpt-6.2-sol openai-gpt-6.1-sol openai-gpt-6-astra",
    f"{FORCED} seed effort temperature top_p": (
        "openai-gpt-6.1-terra openai-gpt-6-luna openai-gpt-5.6-sol openai-gpt-5.6-terra openai-gpt-5.6-luna openai-gpt-5.5 "
        "openai-gpt-5.4 openai-gpt-5.4-mini openai-gpt-5.2"
    ),
    f"{FORCED} effort": (
        "openai-gpt-6-astra-bedrock openai-gpt-6.1-sol-bedrock openai-gpt-6.1-terra-bedrock openai-gpt-6-luna-bedrock"
    ),
    "tools effort temperature top_p": "openai-gpt-oss-120b openai-gpt-oss-20b",
    "": ("openai-gpt-realtime-2.1 openai-gpt-realtime-2.1-mini openai-gpt-4o-rt-preview openai-gpt-4o-mini-rt-preview"),
    f"{FORCED} effort {PENALTIES} {BASIC}": "deepseek-flash",
    f"{FORCED} {PENALTIES} {BASIC}": "deepseek-v4-pro deepseek-chat",
    "tools json stop": "deepseek-reasoner",
    f"{FORCED} seed {PENALTIES} {BASIC}": "openai-gpt-4o openai-gpt-4o-mini",
    f"{FORCED} seed top_k {PENALTIES} {BASIC}": (
        "google-gemini-2.0-flash google-gemini-2.0-flash-lite google-gemini-1.5-flash "
        "google-gemini-1.5-flash-8b google-gemini-1.5-pro"
    ),
    f"{FORCED} seed effort top_k {BASIC}": (
        "google-gemini-3.1-pro-preview google-gemini-3.1-flash-lite google-gemini-2.5-flash-lite"
    ),
    f"{FORCED} seed effort stop": (
        "openai-o1 openai-o3-mini "
        "google-gemini-4-neon google-gemini-4-carbon google-gemini-4-argon google-gemini-4-hydrogen "
        "google-gemini-3.8-flash google-gemini-3.5-flash-lite"
    ),
    f"{FORCED} effort {BASIC}": "amazon-nova-2-lite moonshot-kimi-k3.1",
    f"{FORCED} {BASIC}": ("amazon-nova-micro amazon-nova-lite amazon-nova-pro zai-glm-5.3"),
    f"{FORCED} temperature top_p": "xai-grok-4.7",
    f"{FORCED} effort top_k {BASIC}": (
        "anthropic-claude-opus-4-6 anthropic-claude-sonnet-4-6 anthropic-claude-haiku-4-5"
    ),
    f"{FORCED} top_k {BASIC}": (
        "anthropic-claude-3-5-haiku anthropic-claude-3-5-sonnet-v2 "
        "anthropic-claude-3-5-sonnet anthropic-claude-3-sonnet anthropic-claude-3-opus anthropic-claude-3-haiku"
    ),
    f"{FORCED} effort stop": (
        "anthropic-claude-opus-5 anthropic-claude-opus-4-8 anthropic-claude-sonnet-5 anthropic-claude-haiku-5-5"
    ),
    "tools effort stop": "anthropic-claude-fable-5-2 anthropic-claude-opus-5-5 anthropic-claude-sonnet-5-5",
    f"tools required json schema {BASIC}": "deepseek-v3.2 mistral-mistral-large-3 mistral-mistral-large",
    f"tools {BASIC}": (
        "a21-jamba-1.5-large a21-jamba-1.5-mini cohere-command-rplus-v1 cohere-command-r meta-llama3-3-70b "
        "meta-llama3-2-11b meta-llama3-2-90b meta-llama3-1-8b meta-llama3-1-70b meta-llama4-maverick meta-llama4-scout "
        "mistral-mistral-small mistral-ministral-3-14b mistral-ministral-3-8b mistral-ministral-3-3b "
        "mistral-magistral-small qwen-qwen3-235b qwen-qwen3-32b qwen-qwen3-next-80b qwen-qwen3-vl-235b "
        "qwen-qwen3-coder-next minimax-m2.5"
    ),
    f"top_k {BASIC}": "anthropic-claude-2-1 anthropic-claude anthropic-claude-instant",
    BASIC: (
        "a21-jurassic-2-mid a21-jurassic-2-ultra a21-jamba-instruct amazon-titan-text-v1 amazon-titan-text-express-v1 "
        "amazon-titan-text-lite-v1 "
        "cohere-command-text-v1 cohere-command-text-light-v1 meta-llama3-2-1b meta-llama3-2-3b meta-llama3-8b "
        "meta-llama3-70b mistral-mistral-7b mistral-mistral-8x7b"
    ),
}
ABLE = {name: set(able.split()) for able, names in TABLE.items() for name in names.split()}


def test_the_table_has_every_model() -> None:
    assert {model.name for model in CATALOGUE} == set(ABLE)
    assert len(ABLE) == 111


@pytest.mark.parametrize("model", list(CATALOGUE), ids=lambda model: model.name)
def test_a_model_refuses_what_the_table_does_not_give_it(model: Model) -> None:
    for asked, (option, sampling, tools) in ASKED.items():
        first = "tools" if tools.offered and not model.tools else option
        if asked == "schema" and not model.json_mode:
            first = "json_answer"
        expected = None if asked in ABLE[model.name] else first
        assert unavailable(model, sampling, tools, HELLO) == expected, asked


@pytest.mark.parametrize("model", list(CATALOGUE), ids=lambda model: model.name)
def test_what_asks_for_nothing_is_never_refused(model: Model) -> None:
    sampling = Sampling(frequency_penalty=0, presence_penalty=0.0, stop=(), user="someone")
    for choice in (None, ToolChoice("auto"), ToolChoice("none")):
        for parallel in (None, True, False):
            assert unavailable(model, sampling, Tools(choice=choice, parallel=parallel), HELLO) is None


@pytest.mark.parametrize("model", [model for model in CATALOGUE if model.tools], ids=lambda model: model.name)
def test_one_call_at_a_time_is_never_refused(model: Model) -> None:
    assert unavailable(model, NOTHING, Tools(offered=CLOCK, parallel=False), HELLO) is None


@pytest.mark.parametrize(
    "said",
    [
        Message("tool", "ten", tool_call_id="call_1"),
        Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"),)),
    ],
)
def test_calls_and_results_in_the_history_are_tools(said: Message) -> None:
    for model in CATALOGUE:
        assert unavailable(model, NOTHING, NO_TOOLS, [*HELLO, said]) == (None if model.tools else "tools")


ANY, TYPED = JsonAnswer(), JsonAnswer(schema=SCHEMA)
CHOSEN = {mode: Tools(offered=CLOCK, choice=ToolChoice(mode)) for mode in ("auto", "none", "required")}


@pytest.mark.parametrize(
    ("name", "tools", "answer", "form"),
    [
        ("openai-gpt-4o", NO_TOOLS, TYPED, "mode"),
        ("openai-gpt-4o", CHOSEN["auto"], TYPED, "mode"),
        ("google-gemini-2.0-flash", NO_TOOLS, TYPED, "mode"),
        ("google-gemini-2.0-flash", CHOSEN["auto"], ANY, "tool"),
        ("google-gemini-2.0-flash", CHOSEN["none"], ANY, "tool"),
        ("deepseek-chat", CHOSEN["auto"], ANY, "mode"),
        ("deepseek-chat", NO_TOOLS, TYPED, "tool"),
        ("deepseek-chat", CHOSEN["auto"], TYPED, "tool"),
        ("deepseek-reasoner", CHOSEN["auto"], ANY, "mode"),
        ("deepseek-reasoner", NO_TOOLS, TYPED, None),
        ("amazon-nova-lite", NO_TOOLS, ANY, "tool"),
        ("anthropic-claude-3-haiku", CHOSEN["required"], TYPED, "tool"),
        ("mistral-mistral-large", NO_TOOLS, TYPED, "tool"),
        ("mistral-mistral-large", CHOSEN["auto"], TYPED, "tool"),
        ("mistral-mistral-small", NO_TOOLS, TYPED, None),
        ("meta-llama3-1-70b", CHOSEN["auto"], ANY, None),
        ("openai-o1-mini", NO_TOOLS, ANY, None),
        ("openai-gpt-6-astra", NO_TOOLS, TYPED, "mode"),
        ("openai-gpt-6-astra-bedrock", CHOSEN["auto"], TYPED, "tool"),
        ("anthropic-claude-haiku-5-5", NO_TOOLS, TYPED, "tool"),
        ("anthropic-claude-opus-5-5", NO_TOOLS, ANY, None),
        ("deepseek-flash", NO_TOOLS, TYPED, "tool"),
        ("google-gemini-4-argon", CHOSEN["auto"], TYPED, "tool"),
    ],
)
def test_how_a_model_is_held_to_json(name: str, tools: Tools, answer: JsonAnswer, form: str | None) -> None:
    assert json_form(CATALOGUE.find(name), tools, answer) == form


def test_who_can_be_made_to_call_the_only_tool_but_not_one_of_several_has_no_schemas_beside_tools() -> None:
    named_only = msgspec.structs.replace(CATALOGUE.find("amazon-nova-lite"), tools_lack=("required",))
    assert json_form(named_only, NO_TOOLS, TYPED) == "tool"
    assert json_form(named_only, CHOSEN["none"], TYPED) == "tool"
    assert json_form(named_only, CHOSEN["auto"], TYPED) is None


@pytest.mark.parametrize(
    ("name", "answer", "most"),
    [
        ("openai-gpt-4o", TYPED, 128),
        ("deepseek-chat", None, 128),
        ("deepseek-chat", TYPED, 127),
        ("google-gemini-2.0-flash", None, 512),
        ("google-gemini-2.0-flash", TYPED, 511),
        ("anthropic-claude-3-haiku", TYPED, None),
    ],
)
def test_a_tool_for_the_answer_is_one_of_those_that_a_vendor_takes(
    name: str, answer: JsonAnswer | None, most: int | None
) -> None:
    assert tools_max(CATALOGUE.find(name), Sampling(json_answer=answer), CHOSEN["auto"]) == most


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("openai-o3-mini", "minimal", "low"),
        ("openai-o3-mini", "medium", "medium"),
        ("openai-o3-mini", "max", "high"),
        ("openai-gpt-4o", "none", None),
        ("openai-gpt-5.5", "none", "none"),
        ("openai-gpt-5.5", "max", "xhigh"),
        ("openai-gpt-6-luna-bedrock", "high", "high"),
        ("openai-gpt-5.5", "minimal", "low"),
        ("deepseek-flash", "none", "none"),
        ("deepseek-flash", "medium", "high"),
        ("deepseek-v4-pro", "low", "high"),
        ("anthropic-claude-opus-4-6", "xhigh", "high"),
        ("amazon-nova-2-lite", "max", "medium"),
    ],
)
def test_an_effort_that_is_a_wish_becomes_the_nearest(model: str, wanted: Any, sent: Any) -> None:
    """Not to think is lacking where the model thinks the least that it can."""
    asked = Sampling(reasoning_effort=wanted)
    lacking = ["reasoning_effort"] if wanted == "none" and sent not in {None, "none"} else []
    assert nearest(CATALOGUE.find(model), asked, {"reasoning_effort"}) == (Sampling(reasoning_effort=sent), lacking)


@pytest.mark.parametrize(
    ("model", "effort", "lacking"),
    [
        ("openai-gpt-5.2", "high", ["shown_thoughts"]),
        ("openai-gpt-6-luna-bedrock", "high", ["shown_thoughts"]),
        ("openai-gpt-4o", "none", []),
        ("anthropic-claude-opus-5-5", "high", []),
        ("google-gemini-3.8-flash", "high", []),
        ("deepseek-v4-pro", "high", []),
        ("deepseek-v4-pro", "none", []),
    ],
)
def test_thoughts_that_a_vendor_does_not_show_are_lacking(model: str, effort: Any, lacking: list[str]) -> None:
    asked = Sampling(reasoning_effort=effort, shows_thoughts=True)
    assert nearest(CATALOGUE.find(model), asked, {"reasoning_effort", "shown_thoughts"})[1] == lacking


@pytest.mark.parametrize(
    ("model", "effort", "is_left_out"),
    [
        ("openai-gpt-5.2", "low", True),
        ("openai-gpt-5.2", "none", False),
        ("openai-gpt-4o", None, False),
        ("deepseek-flash", "high", False),
        ("anthropic-claude-opus-5-5", "low", False),
    ],
)
def test_who_wants_to_see_what_is_thought_and_hidden_is_told(model: str, effort: Any, *, is_left_out: bool) -> None:
    wishes = ["shown_thoughts", *(["reasoning_effort"] if effort else [])]
    _, lacking = nearest(CATALOGUE.find(model), Sampling(reasoning_effort=effort), wishes)
    assert lacking == (["shown_thoughts"] if is_left_out else [])


@pytest.mark.parametrize("model", ["openai-o3-mini", "openai-gpt-6-astra", "anthropic-claude-opus-5-5"])
def test_who_wants_no_thinking_of_a_model_that_cannot_stop_is_told(model: str) -> None:
    least, lacking = nearest(CATALOGUE.find(model), Sampling(reasoning_effort="none"), {"reasoning_effort"})
    assert (least.reasoning_effort, lacking) == ("low", ["reasoning_effort"])


@pytest.mark.parametrize(
    ("model", "lacks"),
    [
        ("openai-gpt-4o", {"reasoning_effort", "thinking", "top_k"}),
        ("openai-o3-mini", {"top_k", *NO_PENALTIES}),
        ("openai-o1-mini", {"reasoning_effort", "top_k", *NO_PENALTIES}),
        ("deepseek-chat", {"reasoning_effort", "thinking", "top_k", "seed", "user", "strict_tools"}),
        ("deepseek-reasoner", {"reasoning_effort", "top_k", "seed", *NO_PENALTIES, "user", "strict_tools"}),
        (
            "anthropic-claude-3-5-sonnet-v2",
            {"reasoning_effort", "thinking", "seed", *NO_PENALTIES, "user", "strict_tools", "cache"},
        ),
        (
            "amazon-nova-lite",
            {"reasoning_effort", "thinking", "top_k", "seed", *NO_PENALTIES, "user", "strict_tools"},
        ),
        ("google-gemini-2.0-flash", {"reasoning_effort", "thinking", "user", "strict_tools", "cache"}),
    ],
)
def test_wishes_that_a_model_lacks_are_left_out_and_named(model: str, lacks: set[str]) -> None:
    wishes = {"reasoning_effort", "thinking", "top_k", "seed", *NO_PENALTIES, "user", "strict_tools", "cache"}
    asked = Sampling(
        reasoning_effort="low", top_k=5, seed=0, frequency_penalty=0.3, presence_penalty=-0.1, user="someone"
    )
    sampling, lacking = nearest(CATALOGUE.find(model), asked, wishes)
    assert set(lacking) == lacks
    options = ("reasoning_effort", "top_k", "seed", *NO_PENALTIES, "user")
    assert {option for option in options if getattr(sampling, option) is None} == lacks & set(options)
    assert unavailable(CATALOGUE.find(model), sampling, NO_TOOLS, HELLO) is None


def test_what_is_no_wish_of_this_caller_is_left_as_it_is() -> None:
    asked = Sampling(seed=0, frequency_penalty=0.3, presence_penalty=-0.1)
    assert nearest(CATALOGUE.find("amazon-nova-lite"), asked, ()) == (asked, [])


def test_the_default_of_a_model_that_takes_no_other_is_left_out() -> None:
    asked = Sampling(temperature=1, top_p=1.0)
    assert nearest(CATALOGUE.find("openai-o1"), asked, ()) == (Sampling(), [])
    assert nearest(CATALOGUE.find("openai-gpt-4o"), asked, ()) == (asked, [])


@pytest.mark.parametrize("name", ["anthropic-claude-sonnet-4-6", "anthropic-claude-haiku-4-5"])
@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ((0.7, 1), (0.7, None)),
        ((1, 0.9), (None, 0.9)),
        ((1, 1), (1, None)),
        ((None, 1), (None, 1)),
        ((0.7, 0.9), (0.7, 0.9)),  # which is refused
    ],
)
def test_a_default_beside_the_other_one_is_left_out_where_only_one_is_taken(name: str, asked: Any, sent: Any) -> None:
    def sampling(temperature: float | None, top_p: float | None) -> Sampling:
        return Sampling(temperature=temperature, top_p=top_p)

    assert nearest(CATALOGUE.find(name), sampling(*asked), ()) == (sampling(*sent), [])
    assert nearest(CATALOGUE.find("anthropic-claude-3-opus"), sampling(*asked), ()) == (sampling(*asked), [])


def test_the_first_of_several_is_named() -> None:
    everything = Sampling(seed=1, temperature=1, json_answer=JsonAnswer(schema=SCHEMA))
    assert unavailable(CATALOGUE.find("openai-o1-mini"), everything, Tools(offered=CLOCK), HELLO) == "tools"
    assert unavailable(CATALOGUE.find("openai-o1-mini"), everything, NO_TOOLS, HELLO) == "json_answer"
    assert unavailable(CATALOGUE.find("deepseek-reasoner"), everything, NO_TOOLS, HELLO) == "json_schema"


LOW, HIGH = Sampling(reasoning_effort="low"), Sampling(reasoning_effort="high")
WARM = Sampling(reasoning_effort="low", temperature=0.5)
OFFERED = Tools(offered=CLOCK)


@pytest.mark.parametrize(
    ("name", "asked", "tools", "sent", "lacking"),
    [
        ("openai-gpt-5.5", HIGH, NO_TOOLS, HIGH, []),
        ("openai-gpt-5.5", HIGH, OFFERED, NOTHING, ["reasoning_effort"]),
        ("openai-gpt-5.5", Sampling(reasoning_effort="none"), OFFERED, Sampling(reasoning_effort="none"), []),
        ("openai-gpt-5.2", HIGH, OFFERED, HIGH, []),
        ("openai-gpt-6-luna-bedrock", HIGH, OFFERED, HIGH, []),
        ("openai-gpt-5.5", WARM, NO_TOOLS, Sampling(temperature=0.5), ["reasoning_effort"]),
        ("openai-gpt-5.5", Sampling(reasoning_effort="low", temperature=1), NO_TOOLS, LOW, []),
        ("openai-gpt-6-astra", WARM, NO_TOOLS, WARM, []),
        ("openai-o3-mini", WARM, NO_TOOLS, WARM, []),
    ],
)
def test_a_wish_to_think_gives_way_to_tools_and_to_a_temperature(
    name: str, asked: Sampling, tools: Tools, sent: Sampling, lacking: list[str]
) -> None:
    assert nearest(CATALOGUE.find(name), asked, {"reasoning_effort"}, tools) == (sent, lacking)


@pytest.mark.parametrize(
    ("name", "asked", "tools", "effort", "lacking"),
    [
        ("openai-gpt-5.5", NOTHING, NO_TOOLS, "medium", []),
        ("openai-gpt-5.5", HIGH, NO_TOOLS, "high", []),
        ("openai-gpt-5.5", NOTHING, OFFERED, None, ["thinking"]),
        ("openai-gpt-5.5", Sampling(temperature=0.5), NO_TOOLS, None, ["thinking"]),
        ("openai-gpt-6-luna-bedrock", NOTHING, OFFERED, "medium", []),
        ("openai-gpt-6-astra", NOTHING, NO_TOOLS, None, []),
        ("google-gemini-4-argon", NOTHING, NO_TOOLS, None, []),
        ("anthropic-claude-opus-5-5", NOTHING, NO_TOOLS, None, []),
        ("anthropic-claude-sonnet-5-5", NOTHING, NO_TOOLS, "medium", []),
        ("anthropic-claude-opus-5", NOTHING, NO_TOOLS, "medium", []),
        ("anthropic-claude-haiku-4-5", NOTHING, NO_TOOLS, "medium", []),
        ("anthropic-claude-haiku-4-5", Sampling(temperature=0.5), NO_TOOLS, None, ["thinking"]),
        ("anthropic-claude-haiku-4-5", NOTHING, CHOSEN["required"], None, ["thinking"]),
        ("anthropic-claude-opus-5", NOTHING, CHOSEN["required"], "medium", []),
        ("deepseek-flash", NOTHING, NO_TOOLS, "high", []),
        ("deepseek-flash", NOTHING, CHOSEN["required"], None, ["thinking"]),
        ("google-gemini-2.5-flash-lite", NOTHING, NO_TOOLS, "medium", []),
        ("meta-llama4-scout", NOTHING, NO_TOOLS, None, ["thinking"]),
    ],
)
def test_thinking_that_is_switched_on_is_an_effort_where_the_model_would_not_think(
    name: str, asked: Sampling, tools: Tools, effort: str | None, lacking: list[str]
) -> None:
    wishes = {"thinking"} | ({"reasoning_effort"} if asked is HIGH else set())
    sampling, left_out = nearest(CATALOGUE.find(name), asked, wishes, tools)
    assert (sampling.reasoning_effort, left_out) == (effort, lacking)


@pytest.mark.parametrize(
    ("name", "asked", "tools", "refused"),
    [
        ("openai-gpt-5.5", HIGH, OFFERED, "reasoning_effort"),
        ("openai-gpt-5.5", Sampling(reasoning_effort="none"), OFFERED, None),
        ("openai-gpt-5.5", WARM, NO_TOOLS, "temperature"),
        ("openai-gpt-5.5", Sampling(reasoning_effort="low", top_p=0.5), NO_TOOLS, "top_p"),
        ("openai-gpt-5.5", Sampling(reasoning_effort="none", temperature=0.5, top_p=0.5), NO_TOOLS, None),
        ("openai-gpt-5.2", HIGH, OFFERED, None),
        ("openai-gpt-6-luna-bedrock", HIGH, OFFERED, None),
        ("openai-gpt-6-luna-bedrock", Sampling(reasoning_effort="none", temperature=0.5), NO_TOOLS, "temperature"),
        ("moonshot-kimi-k3.1", Sampling(temperature=0.5), OFFERED, None),
    ],
)
def test_what_goes_with_thinking_and_what_does_not(
    name: str, asked: Sampling, tools: Tools, refused: str | None
) -> None:
    assert unavailable(CATALOGUE.find(name), asked, tools, HELLO) == refused


def test_of_a_model_at_an_operators_own_address_nothing_is_known_while_it_thinks() -> None:
    own = msgspec.structs.replace(CATALOGUE.find("openai-gpt-5.5"), base_url="http://vllm", key_variable="KEY")
    assert unavailable(own, WARM, NO_TOOLS, HELLO) is None
