"""The manual's example of the main operation: a request and its answer."""

from __future__ import annotations

from api.formats.native.answers import Success
from api.formats.native.chat import ChatAnswer, NativeMessage
from shared.money import usd_number

CHAT_REQUEST = {
    "model": "openai-gpt-4o-mini",
    "messages": [{"role": "user", "content": "Name a colour."}],
    "options": {"max_tokens": 64},
}
COMPLETION = {
    "model": "openai-gpt-4o-mini",
    "messages": [{"role": "user", "content": "Name a colour."}],
    "max_tokens": 64,
}
COUNT = {"model": "openai-gpt-4o-mini", "messages": [{"role": "user", "content": "Name a colour."}]}
RESPONSE = {"model": "openai-gpt-4o-mini", "input": "Name a colour.", "max_output_tokens": 64}
MESSAGE_BATCH = {"requests": [{"custom_id": "colour", "params": COMPLETION}]}
BATCH = {"input_file_id": "file_…", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
CHAT_ANSWER = Success(
    status=1,
    result=ChatAnswer(
        response="Blue.",
        tokens_input=11,
        tokens_output=3,
        price=usd_number(3_450),
        model="openai-gpt-4o-mini",
        request=[NativeMessage("user", "Name a colour.")],
    ),
)
