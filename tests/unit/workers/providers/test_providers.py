"""The parts of the providers that need no vendor to be checked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.catalogue.models import load_catalogue
from shared.chat import ImagePart, ImageUrl, Message, Sampling, TextPart, ToolCall
from shared.errors import InvalidRequest, ProviderError
from shared.settings import SettingsError
from workers.providers.bedrock import bedrock
from workers.providers.bedrock import converse as bedrock_converse
from workers.providers.bedrock import invoke as bedrock_invoke
from workers.providers.bedrock.client import Clients as BedrockClients
from workers.providers.credentials import has_credentials
from workers.providers.gemini import request as gemini_request
from workers.providers.openai import request as openai_request
from workers.providers.protocol import Limits, ProviderRequest
from workers.providers.wire.conversation import conversation, image
from workers.providers.wire.fitting import Fitted
from workers.providers.wire.instructions import fit
from workers.providers.wire.sse import EVENT_BYTES_MAX, data_lines, whole
from workers.providers.wire.text import SurrogateJoiner

CATALOGUE = load_catalogue()
LIMITS = Limits(connections=2, connect_s=1, read_s=1)
PICTURE = ImagePart(ImageUrl("data:image/webp;base64,AAEC"))
TALK = [
    Message("system", "Be brief."),
    Message("user", "One?"),
    Message("assistant", "Two."),
    Message("user", "Three?"),
]


def request(name: str, messages: list[Message], *, stream: bool = True, **sampling: object) -> ProviderRequest:
    model = CATALOGUE.find(name)
    return ProviderRequest(
        id="req_1",
        model=model,
        messages=fit(messages, model),
        sampling=Sampling(**sampling),  # type: ignore[arg-type]
        output_limit=100,
        stream=stream,
    )


async def bytes_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


# what is loaded


@pytest.mark.parametrize(
    ("environment", "provider"),
    [
        ({"OPENAI_API_KEY": "k"}, "openai"),
        ({"DEEPSEEK_API_KEY": "k"}, "deepseek"),
        ({"GEMINI_API_KEY": "k"}, "gemini"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k"}, "bedrock"),
        ({"AWS_PROFILE": "p"}, "bedrock"),
    ],
)
def test_a_variable_of_a_vendor_is_its_credentials(environment: dict[str, str], provider: str) -> None:
    nowhere = {"HOME": "/nonexistent"}
    assert has_credentials(provider, environment | nowhere)
    assert not has_credentials(provider, nowhere)
    assert not has_credentials(provider, dict.fromkeys(environment, "") | nowhere)


def test_a_credentials_file_is_a_hint_for_bedrock(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\n")
    assert has_credentials("bedrock", {"HOME": str(tmp_path)})
    assert not has_credentials("bedrock", {"HOME": str(tmp_path), "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"})


def loaded(variables: dict[str, str]) -> dict[str, list[str]]:
    """What a fresh worker process loads when it serves every provider."""
    program = """
import json, os, sys
from shared.vendors import PROVIDERS
from workers.providers.loading import load_apis
from workers.providers.protocol import Limits
limits = Limits(connections=1, connect_s=1, read_s=1)
made = [api for one in PROVIDERS for api in load_apis(one, os.environ, limits)]
sdks = [name for name in ("openai", "aioboto3", "botocore", "google.genai") if name in sys.modules]
print(json.dumps({"apis": sorted(made), "sdks": sdks}))
"""
    quiet = {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], env=quiet | variables, capture_output=True, check=True)
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def test_a_worker_loads_no_sdk_without_credentials() -> None:
    assert loaded({}) == {"apis": [], "sdks": []}


def test_a_worker_loads_only_the_sdks_of_what_it_serves() -> None:
    assert loaded({"DEEPSEEK_API_KEY": "k"}) == {"apis": ["deepseek-chat"], "sdks": ["openai"]}
    assert loaded({"GEMINI_API_KEY": "k"}) == {"apis": ["gemini"], "sdks": ["google.genai"]}


def test_a_region_without_credentials_is_no_bedrock() -> None:
    assert loaded({"AWS_REGION": "us-east-1"})["apis"] == []
    with_keys = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
    assert loaded(with_keys)["apis"] == ["bedrock-converse", "bedrock-invoke"]


# other addresses


@pytest.mark.parametrize(
    "row",
    [
        'name = "openai-gpt-4o"\nbase_url = "https://acme.example"',
        'name = "google-gemini-1.5-pro"\nkey_variable = "K_1"',
    ],
)
def test_an_overlay_cannot_send_a_key_astray(tmp_path: Path, row: str) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text(f"[[model]]\n{row}\n")
    with pytest.raises(SettingsError, match="key_variable"):
        load_catalogue(overlay)


class Elsewhere(Exception):
    """Where a call was to go."""


class NoClients:
    """Stands in for the clients of Bedrock: tells the region and makes none."""

    async def client_in(self, region: str | None) -> Any:
        raise Elsewhere(region)


async def test_a_row_of_bedrock_is_asked_in_its_region() -> None:
    provider = bedrock.Bedrock(NoClients())  # type: ignore[arg-type]
    for name, region in (("meta-llama3-3-70b", "us-east-2"), ("amazon-nova-lite", None)):
        with pytest.raises(Elsewhere) as asked:
            await anext(provider.stream(request(name, TALK)))
        assert asked.value.args == (region,)


@pytest.mark.parametrize(("named", "region"), [({}, "us-east-1"), ({"AWS_REGION": "eu-west-1"}, "eu-west-1")])
async def test_bedrock_has_a_client_per_region(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str], region: str
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    clients = BedrockClients({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", **named}, LIMITS)
    own, other = await clients.client_in(None), await clients.client_in("us-east-2")
    assert (own.meta.region_name, other.meta.region_name) == (region, "us-east-2")
    assert await clients.client_in(region) is own
    await clients.close()


# conversations


def test_neighbours_become_one_turn_and_instructions_stand_apart() -> None:
    talk = conversation([Message("user", "a"), Message("system", "s"), Message("user", [TextPart(" "), PICTURE])])
    assert talk.instructions == "s"
    assert [(turn.role, turn.parts) for turn in talk.turns] == [("user", [TextPart("a"), PICTURE])]


@pytest.mark.parametrize(
    "blank", [Message("assistant", ""), Message("assistant", [TextPart(" \n")]), Message("user", "")]
)
def test_what_is_blank_is_left_out(blank: Message) -> None:
    talk = conversation([Message("user", "a"), blank, Message("assistant", "b"), blank, Message("user", "c"), blank])
    assert [(turn.role, turn.text) for turn in talk.turns] == [("user", "a"), ("assistant", "b"), ("user", "c")]


def test_a_blank_message_between_a_call_and_its_result_is_left_out() -> None:
    call, result = ToolCall("call_1", "clock", "{}"), Message("tool", "ten", tool_call_id="call_1")
    said = Message("assistant", "", tool_calls=(call,))
    talk = conversation([Message("user", "a"), said, Message("assistant", ""), result])
    assert [turn.role for turn in talk.turns] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [Message("system", "s")],
        [Message("user", " ")],
        [Message("user", [])],
        [Message("user", "a"), Message("assistant", "b"), Message("user", " ")],
    ],
)
def test_nothing_to_say_is_an_invalid_request(messages: list[Message]) -> None:
    with pytest.raises(InvalidRequest):
        conversation(messages)


def test_an_image_is_told_by_format_and_bytes() -> None:
    assert image(PICTURE) == ("webp", b"\x00\x01\x02")
    with pytest.raises(InvalidRequest):
        image(ImagePart(ImageUrl("data:image/png;base64,AAE")))


def test_blank_instructions_are_not_folded() -> None:
    titan = CATALOGUE.find("amazon-titan-text-lite-v1")
    assert fit([Message("system", " "), Message("user", "Hi")], titan) == [Message("user", "Hi")]


def test_what_claude_is_to_go_on_from_ends_before_white_space() -> None:
    asked = request("anthropic-claude-3-haiku", [Message("user", "a"), Message("assistant", "So: \n")])
    assert bedrock_converse.parameters(asked)["messages"][-1]["content"] == [{"text": "So:"}]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("data:image/jpg;base64,AAEC", "jpeg"),
        ("data:image/JPEG;base64,AAEC", "jpeg"),
        ("data:image/png;base64,/9j/4AAQSkZJRgABAQEASABIAAD", "jpeg"),
        ("data:image/jpeg;base64,iVBORw0KGgoAAAANSUhEUgAAAAE", "png"),
        ("data:image/png;base64,R0lGODdhAQABAIAAAP", "gif"),
        ("data:image/png;base64,UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAE", "webp"),
        ("data:image/webp;base64,AAEC", "webp"),
    ],
)
@pytest.mark.parametrize("model", ["openai-gpt-4o", "amazon-nova-lite", "google-gemini-2.0-flash"])
def test_an_image_is_labelled_as_what_it_is(model: str, url: str, sent: str) -> None:
    fitted = Fitted(request(model, [Message("user", [TextPart("a"), ImagePart(ImageUrl(url))])])).request
    (seen,) = fitted.messages[0].images()
    assert seen.image_url.url == f"data:image/{sent};base64,{url.partition(',')[2]}"


# requests


def test_deepseek_gets_texts_and_the_others_parts() -> None:
    parts = [
        Message("system", [TextPart("Be brief. "), TextPart("Be kind.")]),
        Message("user", [TextPart("Hello"), TextPart(" you")]),
        Message("assistant", [TextPart("Hi."), TextPart("")], tool_calls=(ToolCall("a", "clock", "{}"),)),
        Message("tool", [TextPart("ten"), TextPart(" past")], tool_call_id="a"),
        Message("user", []),
    ]
    sent = openai_request.parameters(request("deepseek-chat", parts))["messages"]
    assert [message["content"] for message in sent] == ["Be brief. Be kind.", "Hello you", "Hi.", "ten past", ""]
    sent = openai_request.parameters(request("openai-gpt-4o", parts))["messages"]
    assert sent[0]["content"] == [{"type": "text", "text": "Be brief. "}, {"type": "text", "text": "Be kind."}]
    assert sent[4]["content"] == ""


def test_deepseeks_thinking_model_gets_each_side_in_turn() -> None:
    called = Message("assistant", "b", tool_calls=(ToolCall("c", "clock", "{}"),))
    talk = [
        Message("system", "s"),
        Message("user", "a"),
        Message("user", [TextPart("b"), TextPart("c")]),
        Message("assistant", ""),
        Message("assistant", "a"),
        called,
        Message("tool", "ten", tool_call_id="c"),
        Message("user", "d"),
        Message("user", " "),
    ]
    asked = openai_request.parameters(request("deepseek-reasoner", talk))["messages"]
    assert [(one["role"], one["content"]) for one in asked] == [
        ("system", "s"),
        ("user", "a\n\nbc"),
        ("assistant", "a\n\nb"),
        ("tool", "ten"),
        ("user", "d"),
    ]
    assert [call["id"] for call in asked[2]["tool_calls"]] == ["c"]
    assert len(openai_request.parameters(request("deepseek-chat", talk))["messages"]) == len(talk)


def test_converse_is_asked_in_its_words() -> None:
    asked = request("amazon-nova-lite", [*TALK, Message("user", [PICTURE])], temperature=0.5, top_p=0.1, stop=("x",))
    assert bedrock_converse.parameters(asked) == {
        "modelId": "amazon.nova-lite-v1:0",
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "One?"}]},
            {"role": "assistant", "content": [{"text": "Two."}]},
            {
                "role": "user",
                "content": [{"text": "Three?"}, {"image": {"format": "webp", "source": {"bytes": b"\x00\x01\x02"}}}],
            },
        ],
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.1, "stopSequences": ["x"]},
    }


def test_only_models_that_continue_take_a_last_message_of_the_assistant() -> None:
    asked = [Message("user", "Count."), Message("assistant", "One,")]
    assert (
        bedrock_converse.parameters(request("anthropic-claude-3-haiku", asked))["messages"][-1]["role"] == "assistant"
    )
    with pytest.raises(InvalidRequest, match="end with"):
        bedrock_converse.parameters(request("amazon-nova-lite", asked))
    with pytest.raises(InvalidRequest, match="begin with"):
        bedrock_converse.parameters(request("amazon-nova-lite", asked[1:]))


def body_of(asked: ProviderRequest) -> dict[str, object]:
    body: dict[str, object] = json.loads(bedrock_invoke._parameters(asked)["body"])
    return body


def test_jurassic_is_asked_in_its_words() -> None:
    asked = request(
        "a21-jurassic-2-mid", [Message("user", "Hi")], stream=False, temperature=0.5, top_p=0.1, stop=("x",)
    )
    options = {"maxTokens": 100, "temperature": 0.5, "topP": 0.1, "stopSequences": ["x"]}
    assert body_of(asked) == {"prompt": "Hi", **options}


def test_command_is_asked_in_its_words() -> None:
    asked = request("cohere-command-text-v1", TALK, top_p=0.1)
    written = "User: Be brief.\n\nOne?\n\nAssistant: Two.\n\nUser: Three?\n\nAssistant:"
    assert body_of(asked) == {"prompt": written, "max_tokens": 100, "p": 0.1, "truncate": "NONE", "stream": True}


def test_an_assistant_turn_is_left_open() -> None:
    asked = request("cohere-command-text-v1", [Message("user", "Count."), Message("assistant", "One,")])
    assert body_of(asked)["prompt"] == "User: Count.\n\nAssistant: One,"


def test_gemini_is_asked_in_its_words() -> None:
    asked = request("google-gemini-1.5-pro", [*TALK, Message("user", [PICTURE])], stop=("x",))
    config, fields = gemini_request.parameters(asked)["config"], gemini_request.large_fields(asked)
    assert (config.max_output_tokens, config.stop_sequences) == (100, ["x"])
    assert fields["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [content["role"] for content in fields["contents"]] == ["user", "model", "user"]
    assert fields["contents"][2]["parts"][1] == {"inlineData": {"mimeType": "image/webp", "data": b"\x00\x01\x02"}}


def test_openai_is_asked_in_its_words() -> None:
    asked = openai_request.parameters(request("openai-o1", [Message("system", "s"), Message("user", [PICTURE])]))
    assert asked == {
        "model": "o1-2024-12-17",
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE.image_url.url}}]},
        ],
        "stream": True,
        "max_completion_tokens": 100,
        "stream_options": {"include_usage": True},
    }


# bytes


def test_surrogate_halves_are_joined_and_a_lone_one_is_replaced() -> None:
    joiner = SurrogateJoiner()
    assert [joiner.feed("a\ud83d"), joiner.feed("\ude42b"), joiner.feed("\ud83d"), joiner.finish()] == [
        "a",
        "🙂b",
        "",
        "\ufffd",
    ]
    assert joiner.feed("\ude42x") == "\ufffdx"


async def test_events_are_found_in_any_chunking() -> None:
    wire = 'id: 1\r\ndata: {"a":"é"}\r\n\r\n: note\n\ndata:2\n\ndata: 3'.encode()
    for size in range(1, len(wire)):
        chunks = bytes_of(*(wire[i : i + size] for i in range(0, len(wire), size)))
        assert [line async for line in data_lines(chunks)] == ['{"a":"é"}'.encode(), b"2", b"3"]


async def test_what_never_ends_is_given_up() -> None:
    with pytest.raises(ProviderError):
        await whole(bytes_of(*[b" " * 1_000_000] * (EVENT_BYTES_MAX // 1_000_000 + 1)))
    with pytest.raises(ProviderError):
        _ = [line async for line in data_lines(bytes_of(b"data: " + b"x" * (EVENT_BYTES_MAX + 1)))]
