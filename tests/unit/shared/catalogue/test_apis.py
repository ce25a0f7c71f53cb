"""Which API serves a request of a model that has two."""

from __future__ import annotations

import msgspec
import pytest

from shared.catalogue.abilities import nearest, unavailable
from shared.catalogue.apis import by_each_api, by_its_api
from shared.catalogue.models import Model, load_catalogue
from shared.chat import NO_TOOLS, Message, ReasoningEffort, Sampling, Tool, ToolChoice, Tools

CATALOGUE = load_catalogue()
CHAT, RESPONSES = "openai-chat", "openai-responses"
CLOCK = Tools(offered=(Tool(name="clock"),))
CHOSEN = Tools(offered=CLOCK.offered, choice=ToolChoice("none"))
HELLO = [Message("user", "Hello")]
TWO = [model for model in CATALOGUE if model.second_api]


def api(name: str, effort: ReasoningEffort | None, tools: Tools, *wishes: str, temperature: float | None = None) -> str:
    sampling = Sampling(reasoning_effort=effort, temperature=temperature)
    return by_its_api(CATALOGUE.find(name), sampling, tools, wishes).api


@pytest.mark.parametrize(
    ("name", "effort", "tools", "expected"),
    [
        ("openai-gpt-5.5", None, NO_TOOLS, CHAT),
        ("openai-gpt-5.5", "high", NO_TOOLS, CHAT),
        ("openai-gpt-5.5", None, CLOCK, CHAT),
        ("openai-gpt-5.5", "none", CLOCK, CHAT),
        ("openai-gpt-5.5", "low", CLOCK, RESPONSES),
        ("openai-gpt-5.5", "low", CHOSEN, RESPONSES),
        ("openai-gpt-6.1-terra", None, NO_TOOLS, CHAT),
        ("openai-gpt-6.1-terra", None, CLOCK, RESPONSES),
        ("openai-gpt-6-astra", "high", NO_TOOLS, CHAT),
        ("openai-gpt-6-astra", None, CLOCK, RESPONSES),
        ("openai-gpt-5.2", "high", CLOCK, CHAT),
        ("openai-gpt-6-luna-bedrock", "high", CLOCK, "bedrock-converse"),
    ],
)
def test_the_first_api_serves_what_it_can(
    name: str, effort: ReasoningEffort | None, tools: Tools, expected: str
) -> None:
    assert api(name, effort, tools) == expected


def test_thoughts_that_are_to_be_handed_on_come_by_the_second_api_where_there_are_any() -> None:
    expectations: list[tuple[ReasoningEffort, str]] = [("high", RESPONSES), ("none", CHAT)]
    for effort, expected in expectations:
        sampling = Sampling(reasoning_effort=effort, shows_thoughts=True)
        assert by_its_api(CATALOGUE.find("openai-gpt-5.5"), sampling, NO_TOOLS).api == expected


def test_a_wish_counts_as_it_is_fulfilled() -> None:
    assert api("openai-gpt-5.5", "max", CLOCK, "reasoning_effort") == RESPONSES  # the nearest is xhigh
    assert api("openai-gpt-5.5", None, CLOCK, "thinking") == RESPONSES
    assert api("openai-gpt-5.5", "low", CLOCK, "reasoning_effort", temperature=0.5) == CHAT  # the effort gives way


@pytest.mark.parametrize("model", TWO, ids=lambda model: model.name)
def test_through_the_second_api_tools_go_with_every_effort(model: Model) -> None:
    for effort in model.reasoning_efforts:
        sampling = Sampling(reasoning_effort=effort, seed=7, user="me")
        chosen = by_its_api(model, sampling, CLOCK, ("seed",))
        sent, lacking = nearest(chosen, sampling, ("seed",), CLOCK)
        assert unavailable(chosen, sent, CLOCK, HELLO) is None
        assert (sent.reasoning_effort, sent.user) == (effort, "me")
        assert lacking == ([] if chosen.api == CHAT else ["seed"])


def test_workers_are_told_of_both() -> None:
    each = [(model.name, model.service) for model in by_each_api(CATALOGUE)]
    assert len(each) == len(CATALOGUE) + len(TWO)
    assert {("openai-gpt-5.5", CHAT), ("openai-gpt-5.5", RESPONSES)} <= set(each)
    keyed = msgspec.structs.replace(TWO[0], base_url="https://vendor.example", key_variable="OTHER_KEY")
    assert [model.service for model in by_each_api([keyed])] == [f"{CHAT}:OTHER_KEY", f"{RESPONSES}:OTHER_KEY"]


def test_what_a_job_carries_can_be_read_by_who_knows_no_second_api() -> None:
    chosen = by_its_api(CATALOGUE.find("openai-gpt-5.5"), Sampling(reasoning_effort="low"), CLOCK)
    job = msgspec.msgpack.decode(msgspec.msgpack.encode(chosen))
    assert (job["api"], job["second_api"], job["tools_lack"]) == (RESPONSES, None, [])
    del job["second_api"]  # as the previous release wrote it
    assert msgspec.convert(job, Model).second_api is None
