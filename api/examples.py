"""What the documentation shows of the main operation: a request, and the answer to it."""

from __future__ import annotations

from api.formats.native import ChatAnswer, ChatRequest, NativeMessage, Options
from api.formats.native_answers import Success
from shared.money import usd_number

_MESSAGES = [NativeMessage("user", "Name a colour.")]
CHAT_REQUEST = ChatRequest("openai-gpt-4o-mini", _MESSAGES, Options(stream=False, max_tokens=64))
CHAT_ANSWER = Success(
    status=1,
    result=ChatAnswer(
        response="Blue.",
        tokens_input=11,
        tokens_output=3,
        price=usd_number(3_450),
        model="openai-gpt-4o-mini",
        request=_MESSAGES,
    ),
)
