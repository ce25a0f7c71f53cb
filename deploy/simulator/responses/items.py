"""The items that the input of `/v1/responses` may have: parts by role, calls with outputs, reasoning with what it led to.

Sources: OpenAI's API reference, and its errors as users report them at github.com, read 2026-11:
- "Invalid 'input[4].call_id': string too long. Expected a string with maximum length 64" (openai/codex/issues/14355)
- "No tool call found for function call output with call_id …" (continuedev/continue/issues/10092)
- "Item 'rs_…' of type 'reasoning' was provided without its required following item." (continuedev/continue/issues/8933)
- "Item with id 'rs_…' not found. Items are not persisted when `store` is set to false." (vercel/ai/issues/7543)
- "The encrypted content … could not be verified." (openai/codex/issues/8145)
"""

from __future__ import annotations

import re

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.contents import check_image
from deploy.simulator.openai.models import Model
from deploy.simulator.openai.names import NAME_LENGTH_MAX
from deploy.simulator.openai.values import INVALID, TEXT_LENGTH_MAX
from deploy.simulator.responses.body import Item, Part, ResponsesRequest
from deploy.simulator.responses.known import ITEMS
from deploy.simulator.responses.sealed import MESSAGE, opened

CALL_ID_LENGTH_MAX = 64
INPUT, OUTPUT = ("input_text", "input_image", "input_file"), ("output_text", "refusal")
SHOWN_OF_CONTENT = 4
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def check_items(body: ResponsesRequest, model: Model) -> None:
    """Check the input against OpenAI's rules; raises `Refusal`."""
    items = body.items
    for i, item in enumerate(items):
        where = f"input[{i}]"
        match item.type:
            case "message":
                _check_message(item, where, model)
            case "function_call":
                _check_text(f"{where}.call_id", item.call_id or "", CALL_ID_LENGTH_MAX)
                _check_text(f"{where}.name", item.name or "", NAME_LENGTH_MAX, _NAME)
            case "function_call_output":
                _check_text(f"{where}.call_id", item.call_id or "", CALL_ID_LENGTH_MAX)
                _check_parts(item, f"{where}.output", INPUT, model)
            case "reasoning":
                _check_reasoning(item, items[i + 1 :], where)
            case other:
                supported = ", ".join(f"'{one}'" for one in ITEMS)
                raise _refused("invalid_value", f"Invalid value: '{other}'. Supported values are: {supported}.", where)
    _check_outputs(items)


def _check_message(item: Item, where: str, model: Model) -> None:
    if item.role is None or item.content is None:
        missing = f"{where}.{'role' if item.role is None else 'content'}"
        raise _refused("missing_required_parameter", f"Missing required parameter: '{missing}'.", missing)
    _check_parts(item, f"{where}.content", OUTPUT if item.role == "assistant" else INPUT, model)
    if isinstance(item.content, str) and len(item.content) > TEXT_LENGTH_MAX:
        raise _too_long(f"{where}.content", item.content, TEXT_LENGTH_MAX)


def _check_parts(item: Item, where: str, known: tuple[str, ...], model: Model) -> None:
    if (item.content if item.output is None else item.output) == []:
        words = "empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise _refused("empty_array", f"Invalid '{where}': {words}", where)
    for j, part in enumerate(item.parts()):
        if part.type not in known:
            supported = ", ".join(f"'{one}'" for one in known)
            words = f"Invalid value: '{part.type}'. Supported values are: {supported}."
            raise _refused("invalid_value", words, f"{where}[{j}].type")
        if part.type == "input_image":
            _check_image(part, f"{where}[{j}]", model)


def _check_image(part: Part, where: str, model: Model) -> None:
    if not model.images:
        raise _refused(None, "Invalid content type. input_image is only supported by certain models.", f"{where}.type")
    detail = {"detail": part.detail} if part.detail else {}
    check_image({"url": part.image_url, **detail}, f"{where}.image_url", model)


def _check_reasoning(item: Item, after: list[Item], where: str) -> None:
    """Check that the item was made here, was not changed, and comes before the item that it led to."""
    if item.encrypted_content is None:
        words = f"Item with id '{item.id}' not found. Items are not persisted when `store` is set to false."
        raise Refusal(404, None, f"{words} Try again with `store` set to true, or remove this item.", INVALID, "input")
    if item.id is not None and not item.id.startswith("rs"):
        words = f"Invalid '{where}.id': '{item.id}'. Expected an ID that begins with 'rs'."
        raise _refused("invalid_value", words, f"{where}.id")
    made = opened(item.encrypted_content)
    if made is None or item.id not in {None, made.id}:
        shown = f"{item.encrypted_content[:SHOWN_OF_CONTENT]}...{item.encrypted_content[-SHOWN_OF_CONTENT:]}"
        why = "Encrypted content could not be decrypted or parsed."
        if made is not None:
            why = "Encrypted content item_id did not match the target item id."
        raise Refusal(
            400,
            "invalid_encrypted_content",
            f"The encrypted content {shown} could not be verified. Reason: {why}",
            INVALID,
        )
    following = next((one for one in after if one.type != "reasoning"), Item())
    is_answer = following.type == "message" and following.role == "assistant"
    if (MESSAGE if is_answer else following.call_id) != made.followed_by:
        words = f"Item '{made.id}' of type 'reasoning' was provided without its required following item."
        raise _refused(None, words, "input")


def _check_outputs(items: list[Item]) -> None:
    """Check that every call has one output after it, and every output its call before it."""
    called: set[str | None] = set()
    answered: set[str | None] = set()
    for item in items:
        if item.type == "function_call":
            if item.call_id in called:
                raise _refused(None, f"Duplicate function call with call_id {item.call_id}.", "input")
            called.add(item.call_id)
        elif item.type == "function_call_output":
            if item.call_id not in called or item.call_id in answered:
                words = f"No tool call found for function call output with call_id {item.call_id}."
                raise _refused(None, words, "input")
            answered.add(item.call_id)
    for item in items:
        if item.type == "function_call" and item.call_id not in answered:
            raise _refused(None, f"No tool output found for function call {item.call_id}.", "input")


def _check_text(where: str, text: str, most: int, pattern: re.Pattern[str] | None = None) -> None:
    if not text:
        words = "empty string. Expected a string with minimum length 1, but got an empty string instead."
        raise _refused("empty_string", f"Invalid '{where}': {words}", where)
    if len(text) > most:
        raise _too_long(where, text, most)
    if pattern and not pattern.fullmatch(text):
        words = f"string does not match pattern. Expected a string that matches the pattern '^{pattern.pattern}$'."
        raise _refused("invalid_value", f"Invalid '{where}': {words}", where)


def _too_long(where: str, text: str, most: int) -> Refusal:
    words = f"Expected a string with maximum length {most}, but got a string with length {len(text)} instead."
    return _refused("string_above_max_length", f"Invalid '{where}': string too long. {words}", where)


def _refused(code: str | None, message: str, param: str) -> Refusal:
    return Refusal(400, code, message, INVALID, param)
