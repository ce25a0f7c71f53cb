"""DeepSeek's rules for a chat completion, and its refusals; what is not here is the same as at OpenAI.

Sources: DeepSeek's API reference (2025-2026), and its errors as users report them: "Failed to deserialize the JSON body
into the target type: messages[2]: invalid type: sequence, expected a string" (github.com/BerriAI/litellm/issues/6642,
github.com/QwenLM/qwen-code/issues/2318), "deepseek-reasoner does not support successive user or assistant messages"
(github.com/deepseek-ai/DeepSeek-R1/issues/21), "Invalid top_p value, the valid range of top_p is (0, 1.0]", "Duplicate
value for 'tool_call_id'", "Content Exists Risk".
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.body import ChatRequest, Message, text_of
from deploy.simulator.openai.models import Model
from deploy.simulator.openai.names import check_count, check_names
from deploy.simulator.openai.schemas import wrong_root
from deploy.simulator.openai.tools import check_results
from deploy.simulator.openai.values import INVALID

REASONER = "deepseek-reasoner"
SEEING = ("deepseek-flash", "deepseek-v4-flash")
SWITCHED = ("deepseek-flash", "deepseek-v4-flash", "deepseek-v4-pro")
"""Models that think unless `thinking` is disabled (api-docs.deepseek.com/guides/thinking_mode, 2026-11)."""
RANGES: dict[str, tuple[float, float, str]] = {
    "temperature": (0, 2, "[0, 2]"),
    "presence_penalty": (-2, 2, "[-2, 2]"),
    "frequency_penalty": (-2, 2, "[-2, 2]"),
}
STOPS_MAX = 16
_ROLES = ("system", "user", "assistant", "tool")
_THOUGHTS_IN_HISTORY = (
    "The reasoning_content is an intermediate result for display purposes only and will not be included in the context "
    "for inference. Please remove the reasoning_content from your message to reduce network traffic."
)
_JSON_WORD = "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."


def thinks(body: ChatRequest, model: Model) -> bool:
    """True if the model thinks: the reasoner always, the newer ones unless it is disabled."""
    disabled = body.thinking is not None and body.thinking.type == "disabled"
    return model.name == REASONER or (model.name in SWITCHED and not disabled)


def parsed(raw: bytes) -> ChatRequest:
    """Read the body; raises `Refusal` for what is no JSON, and for types and roles that DeepSeek does not know."""
    try:
        body = msgspec.json.decode(raw, type=ChatRequest)
    except msgspec.ValidationError as error:
        raise _not_deserialized(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"Failed to parse the request body as JSON: {error}") from None
    for i, message in enumerate(body.messages):
        if message.role not in _ROLES:
            known = ", ".join(f"`{role}`" for role in _ROLES)
            raise _not_deserialized(f"messages[{i}].role: unknown variant `{message.role}`, expected one of {known}")
        _check_parts(i, message, sees=body.model in SEEING)
    return body


def check_body(body: ChatRequest, model: Model) -> None:
    """Check a request against DeepSeek's rules; raises `Refusal`."""
    _check_values(body)
    older = body.model not in SWITCHED
    if older and any(message.reasoning_content and not message.tool_calls for message in body.messages):
        raise invalid(_THOUGHTS_IN_HISTORY)
    if thinks(body, model):
        _check_thinking(body, every_answer=not older)
    _check_form(body)
    if body.tools == []:
        raise invalid("[] is too short - 'tools'")
    check_count(body)
    check_names(body)
    for tool in body.tools or ():
        schema = tool.function.parameters
        if schema is not None and (wrong := wrong_root(schema, "null")):
            raise invalid(f"Invalid schema for function '{tool.function.name}': {wrong}")
    for message in body.messages:
        if message.role == "assistant" and message.content is None and not message.tool_calls:
            raise invalid("Invalid assistant message: content or tool_calls must be set")
    check_results(body.messages)


def invalid(message: str) -> Refusal:
    """Make a refusal in DeepSeek's form, whose code is its type."""
    return Refusal(400, INVALID, message, INVALID)


def _check_parts(i: int, message: Message, *, sees: bool) -> None:
    """Check lists of parts: only the user's messages may have them, with text, or with Flash also images."""
    if not isinstance(message.content, list):
        return
    if message.role != "user":
        raise _not_deserialized(f"messages[{i}]: invalid type: sequence, expected a string at line 1 column 100")
    for part in message.content:
        if part.type != "text" and not (sees and part.type == "image_url"):
            raise _not_deserialized(
                f"messages[{i}]: unknown variant `{part.type}`, expected `text` at line 1 column 100"
            )


def _check_values(body: ChatRequest) -> None:
    for name, (least, most, written) in RANGES.items():
        value = getattr(body, name)
        if value is not None and not least <= value <= most:
            raise invalid(f"Invalid {name} value, the valid range of {name} is {written}")
    if body.top_p is not None and not 0 < body.top_p <= 1:
        raise invalid("Invalid top_p value, the valid range of top_p is (0, 1.0]")
    if isinstance(body.stop, list) and len(body.stop) > STOPS_MAX:
        raise invalid(f"Invalid stop value, the valid range of stop is [0, {STOPS_MAX}] sequences")


def _check_form(body: ChatRequest) -> None:
    form = body.response_format
    if form is None or form.type == "text":
        return
    if form.type == "json_schema":
        raise invalid("This response_format type is unavailable now")
    if not any("json" in text_of(message).lower() for message in body.messages):
        raise invalid(_JSON_WORD)


def _check_thinking(body: ChatRequest, *, every_answer: bool) -> None:
    if body.logprobs:
        raise invalid(f"{body.model} does not support the parameter logprobs")
    if body.tool_choice not in {None, "auto", "none"}:
        raise invalid("Thinking mode does not support this tool_choice")
    for i, (before, after) in enumerate(pairwise(body.messages)):
        if before.role == after.role and after.role in {"user", "assistant"}:
            raise invalid(
                f"deepseek-reasoner does not support successive user or assistant messages (messages[{i}] and "
                f"messages[{i + 1}] in your input). You should interleave the user/assistant messages in the message "
                "sequence."
            )
    for i, message in enumerate(body.messages):
        if message.reasoning_content is not None or message.role != "assistant":
            continue
        if every_answer:
            raise invalid("The `reasoning_content` in the thinking mode must be passed back to the API.")
        if message.tool_calls:
            raise invalid(f"Missing `reasoning_content` field in the assistant message at message index {i}.")


def _not_deserialized(words: str) -> Refusal:
    return invalid(f"Failed to deserialize the JSON body into the target type: {words}")
