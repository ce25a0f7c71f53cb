"""What each of the 51 models can be asked for, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from shared.catalogue.abilities import unavailable
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
    "stop": ("stop", Sampling(stop=("x",)), NO_TOOLS),
}
BASIC = "temperature top_p stop"
PENALTIES = "frequency presence"
TABLE = {
    "tools required named json schema seed effort stop": "openai-o1 openai-o3-mini",
    "seed stop": "openai-o1-mini",
    "": "openai-gpt-4o-rt-preview openai-gpt-4o-mini-rt-preview",
    f"tools required named json {PENALTIES} {BASIC}": "deepseek-chat",
    "tools required named json stop": "deepseek-reasoner",
    f"tools required named json schema seed {PENALTIES} {BASIC}": (
        "openai-gpt-4o openai-gpt-4o-mini google-gemini-2.0-flash google-gemini-2.0-flash-lite google-gemini-1.5-flash "
        "google-gemini-1.5-flash-8b google-gemini-1.5-pro"
    ),
    f"tools required named {BASIC}": (
        "amazon-nova-micro amazon-nova-lite amazon-nova-pro anthropic-claude-3-5-haiku anthropic-claude-3-5-sonnet-v2 "
        "anthropic-claude-3-5-sonnet anthropic-claude-3-sonnet anthropic-claude-3-opus anthropic-claude-3-haiku"
    ),
    f"tools required {BASIC}": "mistral-mistral-large",
    f"tools {BASIC}": (
        "a21-jamba-1.5-large a21-jamba-1.5-mini cohere-command-rplus-v1 cohere-command-r meta-llama3-3-70b "
        "meta-llama3-2-11b meta-llama3-2-90b meta-llama3-1-8b meta-llama3-1-70b mistral-mistral-small"
    ),
    BASIC: (
        "a21-jurassic-2-mid a21-jurassic-2-ultra a21-jamba-instruct anthropic-claude-2-1 anthropic-claude "
        "anthropic-claude-instant amazon-titan-text-v1 amazon-titan-text-express-v1 amazon-titan-text-lite-v1 "
        "cohere-command-text-v1 cohere-command-text-light-v1 meta-llama3-2-1b meta-llama3-2-3b meta-llama3-8b "
        "meta-llama3-70b mistral-mistral-7b mistral-mistral-8x7b"
    ),
}
ABLE = {name: set(able.split()) for able, names in TABLE.items() for name in names.split()}


def test_the_table_has_every_model() -> None:
    assert {model.name for model in CATALOGUE} == set(ABLE)
    assert len(ABLE) == 51


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


def test_gemini_takes_no_json_answer_beside_tools() -> None:
    asked: dict[str, Any] = {
        "sampling": Sampling(json_answer=JsonAnswer()),
        "tools": Tools(offered=CLOCK),
        "messages": HELLO,
    }
    assert unavailable(CATALOGUE.find("google-gemini-2.0-flash"), **asked) == "json_answer"
    assert unavailable(CATALOGUE.find("openai-gpt-4o"), **asked) is None
    assert unavailable(CATALOGUE.find("deepseek-chat"), **asked) is None


def test_the_first_of_several_is_named() -> None:
    everything = Sampling(seed=1, temperature=1, json_answer=JsonAnswer(schema=SCHEMA))
    assert unavailable(CATALOGUE.find("openai-o1-mini"), everything, Tools(offered=CLOCK), HELLO) == "tools"
    assert unavailable(CATALOGUE.find("openai-o1-mini"), everything, NO_TOOLS, HELLO) == "json_answer"
    assert unavailable(CATALOGUE.find("deepseek-reasoner"), everything, NO_TOOLS, HELLO) == "json_schema"
