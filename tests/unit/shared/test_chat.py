from __future__ import annotations

import msgspec
import pytest

from api.formats.native.chat import NativeMessage
from shared.chat import ImagePart, ImageUrl, Message, TextPart


def _image() -> ImagePart:
    return ImagePart(ImageUrl("data:image/png;base64,AAAA"))


def test_the_text_of_a_message_is_its_text_parts_in_order() -> None:
    message = Message("user", [TextPart("a"), _image(), TextPart("b")])
    assert message.text() == "ab"
    assert message.images() == [_image()]
    assert Message("user", "ab").images() == []


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"role":"tool","content":"x"}',
        b'{"role":"user"}',
        b'{"role":"user","content":1}',
        b'{"role":"user","content":"x","name":"y"}',
        b'{"role":"user","content":[{"type":"audio","text":"x"}]}',
        b'{"role":"user","content":[{"type":"text","text":"x","more":1}]}',
    ],
)
def test_a_message_with_an_unknown_role_part_or_field_is_refused(wrong: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=NativeMessage)


@pytest.mark.parametrize("content", ["plain", [TextPart("a"), _image()]])
def test_a_message_is_sent_back_as_it_came(content: str | list[TextPart | ImagePart]) -> None:
    message = NativeMessage("developer", content)
    assert msgspec.json.decode(msgspec.json.encode(message), type=NativeMessage) == message
