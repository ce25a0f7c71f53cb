from __future__ import annotations

import pytest

from shared.catalogue.models import load_catalogue
from shared.chat import ImagePart, ImageUrl, Message, Sampling, TextPart, Tool, ToolCall, Tools
from shared.input_tokens import TOKENS_FOR_RESULT_IMAGES_BOUND
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.fitting import Fitted

CATALOGUE = load_catalogue()
PICTURE = ImagePart(ImageUrl("data:image/png;base64,AAAA"))


@pytest.mark.parametrize("model", ["openai-gpt-4o", "google-gemini-2.0-flash", "meta-llama3-2-11b"])
@pytest.mark.parametrize(("name", "one"), [("clock", "a"), ("x" * 128, "functions.x:0"), ("a.b", "y" * 256)])
def test_what_is_said_of_images_is_within_its_bound(model: str, name: str, one: str) -> None:
    messages = [
        Message("user", "Look."),
        Message("assistant", "", tool_calls=(ToolCall(one, name, "{}"),)),
        Message("tool", [PICTURE], tool_call_id=one),
    ]
    asked = ProviderRequest(
        id="req_1",
        model=CATALOGUE.find(model),
        messages=messages,
        sampling=Sampling(),
        output_limit=100,
        stream=False,
        tools=Tools(offered=(Tool(name=name),)),
    )
    fitted = Fitted(asked).request
    said = fitted.messages[-1].text()
    assert fitted.messages[1].tool_calls[0].name in said
    assert fitted.messages[1].tool_calls[0].id in said
    replaced = fitted.messages[2].text()
    assert len(said) + len(replaced) <= TOKENS_FOR_RESULT_IMAGES_BOUND + len(one)


def test_images_of_one_group_of_results_follow_its_last() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("a", "clock", "{}"), ToolCall("b", "clock", "{}")))
    group = [called, Message("tool", [PICTURE], tool_call_id="a"), Message("tool", "ten", tool_call_id="b")]
    asked = ProviderRequest(
        id="req_1",
        model=CATALOGUE.find("openai-gpt-4o"),
        messages=[Message("user", "Look."), *group, *group, Message("user", "And?")],
        sampling=Sampling(),
        output_limit=100,
        stream=False,
    )
    images = Message("user", [TextPart("Images in the result of clock (a):"), PICTURE])
    seen = [called, Message("tool", "(see the image)", tool_call_id="a"), group[2], images]
    fitted = Fitted(asked).request.messages
    assert fitted[:5] == [Message("user", "Look."), *seen]
    assert [message.role for message in fitted[5:]] == ["assistant", "tool", "tool", "user", "user"]
    assert fitted[8].images() == [PICTURE]
    assert fitted[5].tool_calls[0].id in fitted[8].text()
