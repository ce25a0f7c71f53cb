from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue.models import load_catalogue
from shared.chat import CallPiece, JsonAnswer, Message, Sampling, Tool, ToolCall, ToolChoice, Tools
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.fitting import Fitted
from workers.providers.wire.identifiers import short_name

CATALOGUE = load_catalogue()
LONG = "mcp__a-server-of-somebody__" + "x" * 101
DOTTED = "files.read"
names = st.text("abcXYZ019_.:/-", min_size=1, max_size=128)


def request(
    model: str, *names: str, ids: tuple[str, ...] = ("call_1",), choice: str | None = None, answer: str = "answer"
) -> ProviderRequest:
    """The tools of these names are on offer, and were called with these ids."""
    calls = tuple(ToolCall(one, names[place % len(names)], "{}") for place, one in enumerate(ids))
    return ProviderRequest(
        id="req_1",
        model=CATALOGUE.find(model),
        messages=[
            Message("user", "Hello"),
            Message("assistant", "", tool_calls=calls),
            *(Message("tool", "ten", tool_call_id=one) for one in ids),
        ],
        sampling=Sampling(json_answer=JsonAnswer(name=answer)),
        output_limit=100,
        stream=True,
        tools=Tools(
            offered=tuple(Tool(name=name) for name in names), choice=ToolChoice("named", choice) if choice else None
        ),
    )


@given(names)
def test_a_name_that_is_made_fits_every_vendor_and_is_always_the_same(name: str) -> None:
    made = short_name(name)
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}", made)
    assert made == short_name(name)
    assert len(made) <= len(name) + 10


def test_names_that_are_alike_stay_apart() -> None:
    alike = [LONG + "a", LONG + "b", "a.b", "a:b", "a/b", "a_b"]
    assert len({short_name(name) for name in alike}) == len(alike)
    assert short_name("files.read").startswith("files_read_")


@pytest.mark.parametrize("model", ["openai-gpt-4o", "deepseek-chat", "google-gemini-2.0-flash", "amazon-nova-lite"])
def test_one_name_is_one_name_everywhere_and_is_given_back(model: str) -> None:
    fitted = Fitted(request(model, LONG, "clock", ids=("call_1", "call_2"), choice=LONG))
    tools, called = fitted.request.tools, fitted.request.messages[1].tool_calls
    made = short_name(LONG)
    assert [tool.name for tool in tools.offered] == [made, "clock"]
    assert tools.choice == ToolChoice("named", made)
    assert [call.name for call in called] == [made, "clock"]
    pieces = [CallPiece(0, "", "a", made), CallPiece(1, "", "b", "clock"), CallPiece(1, "{}")]
    assert [piece.name for piece in undone(fitted, *pieces)] == [LONG, "clock", None]


def undone(fitted: Fitted, *pieces: CallPiece) -> list[CallPiece]:
    (undoing,) = fitted._undoings
    return [new for piece in pieces for new in undoing.feed(piece) if isinstance(new, CallPiece)]


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        ("openai-gpt-4o", {DOTTED, "a:b", "a/b"}),
        ("deepseek-chat", {DOTTED, "a:b", "a/b"}),
        ("amazon-nova-lite", {DOTTED, "a:b", "a/b"}),
        ("google-gemini-2.0-flash", {"a/b", "2a", "-a"}),
    ],
)
def test_what_a_vendor_takes_stays(model: str, changed: set[str]) -> None:
    offered = ("clock", "a-b", DOTTED, "a:b", "a/b", "2a", "-a")
    fitted = Fitted(request(model, *offered, choice="clock"))
    sent = [tool.name for tool in fitted.request.tools.offered]
    assert {name for name in offered if name not in sent} == changed


def test_the_name_of_a_schema_is_one_of_these_names() -> None:
    sampling = Fitted(request("openai-gpt-4o", "clock", answer="my.town")).request.sampling
    assert sampling.json_answer == JsonAnswer(name=short_name("my.town"))


@pytest.mark.parametrize(
    ("model", "one", "fits"),
    [
        ("openai-gpt-4o", "x" * 40, True),
        ("openai-gpt-4o", "x" * 41, False),
        ("openai-gpt-4o", "functions.clock:0", True),
        ("amazon-nova-lite", "x" * 64, True),
        ("amazon-nova-lite", "x" * 65, False),
        ("amazon-nova-lite", "functions.clock:0", False),
        ("mistral-mistral-large", "tooluse_abc", False),
        ("mistral-mistral-large", "abcDEF123", True),
        ("deepseek-chat", "x" * 256, True),
        ("deepseek-chat", "x" * 257, False),
        *(
            (model, "", False)
            for model in ("openai-gpt-4o", "amazon-nova-lite", "mistral-mistral-large", "deepseek-chat")
        ),
        ("openai-gpt-4o", "call_1__thought__" + "x" * 5_000, False),
    ],
)
def test_an_id_that_a_vendor_refuses_is_another_one_for_the_call_and_its_result(
    model: str,
    one: str,
    fits: bool,  # noqa: FBT001
) -> None:
    messages = Fitted(request(model, "clock", ids=(one, one + "2"))).request.messages
    sent = [call.id for call in messages[1].tool_calls]
    assert [message.tool_call_id for message in messages[2:]] == sent
    assert (sent[0] == one) is fits
    assert len(set(sent)) == 2
    length = 9 if model.startswith("mistral") else 16
    assert fits or re.fullmatch(f"[a-z0-9]{{{length}}}", sent[0])


def test_a_request_that_fits_is_sent_as_it_is_and_its_pieces_are_not_looked_at() -> None:
    asked = request("openai-gpt-4o", "clock")
    fitted = Fitted(asked)
    assert fitted.request == asked
    assert fitted._undoings == []


@pytest.mark.parametrize("model", ["openai-gpt-4o", "amazon-nova-lite", "google-gemini-2.0-flash"])
def test_a_tool_of_the_past_may_have_any_name(model: str) -> None:
    """As `$web_search` of Kimi, and names that another service takes."""
    names = ("$web_search", "mein Werkzeug", "漢", "x" * 256)
    messages = Fitted(request(model, *names, ids=("a", "b", "c", "d"))).request.messages
    assert [call.name for call in messages[1].tool_calls] == [short_name(name) for name in names]


@pytest.mark.parametrize("model", ["openai-gpt-4o", "deepseek-chat", "amazon-nova-lite", "mistral-mistral-large"])
def test_no_two_calls_of_a_talk_have_one_id_and_each_result_has_that_of_its_call(model: str) -> None:
    """As with clients that count anew in each turn."""
    turn = request(model, "clock", ids=("call_0", "call_1")).messages[1:]
    asked = msgspec.structs.replace(request(model, "clock"), messages=[Message("user", "Hello"), *turn, *turn, *turn])
    messages = Fitted(asked).request.messages
    sent = [call.id for message in messages for call in message.tool_calls]
    assert [message.tool_call_id for message in messages if message.role == "tool"] == sent
    assert len(set(sent)) == 6
    longer = msgspec.structs.replace(asked, messages=[*asked.messages, *turn])
    assert Fitted(longer).request.messages[: len(messages)] == messages
