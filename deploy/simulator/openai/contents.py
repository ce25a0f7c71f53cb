"""The contents of messages at OpenAI: parts by role, nothing empty, images that can be read.

Sources: OpenAI's API reference and its guide to images, and its errors as users report them (2024-2026).
"""

from __future__ import annotations

import re
from typing import Any

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.body import ChatRequest, Message
from deploy.simulator.openai.models import Model
from deploy.simulator.openai.values import INVALID
from deploy.simulator.pictures import decoded, size_of

PARTS: dict[str, tuple[str, ...]] = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}
TEXT = ("text",)
IMAGE_BYTES_MAX = 20 * 1024 * 1024
DETAILS, PATCH = ("low", "high", "auto", "original"), 32
_DATA_URL = re.compile(r"data:(?P<kind>[^;,]*);base64,")
_KINDS = {"image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp"}
"""Kinds of images; `image/jpg` is accepted, too (github.com/mealie-recipes/mealie/pull/5897)."""


def check_contents(body: ChatRequest, model: Model) -> None:
    """Check the content of every message against its role and the model; raises `Refusal`."""
    for i, message in enumerate(body.messages):
        if message.content == []:
            words = "empty array. Expected an array with minimum length 1, but got an empty array instead."
            raise _refused("empty_array", f"Invalid 'messages[{i}].content': {words}", f"messages[{i}].content")
        for j, part in enumerate(message.content if isinstance(message.content, list) else ()):
            where = f"messages[{i}].content[{j}]"
            _check_type(message, i, part.type, where)
            if part.type == "image_url":
                if not model.images:
                    words = "Invalid content type. image_url is only supported by certain models."
                    raise Refusal(400, None, words, INVALID, f"messages.[{i}].content.[{j}].type")
                check_image(part.image_url, f"{where}.image_url", model)


def _check_type(message: Message, i: int, kind: str, where: str) -> None:
    known = PARTS.get(message.role, TEXT)
    if kind in known:
        return
    if kind == "image_url":
        raise _refused(
            "invalid_value",
            f"Invalid 'messages[{i}]'. Image URLs are only allowed for messages with role 'user', but this message with role "
            f"'{message.role}' contains an image URL.",
            f"messages[{i}]",
        )
    supported = ", ".join(f"'{one}'" for one in known)
    raise _refused("invalid_value", f"Invalid value: '{kind}'. Supported values are: {supported}.", f"{where}.type")


def check_image(image: Any, where: str, model: Model) -> None:  # noqa: ANN401 - any JSON
    """Check an image's `url` and `detail` against what the model takes; raises `Refusal`."""
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        raise _refused("invalid_type", f"Invalid type for '{where}': expected an object with a url.", where)
    if url.startswith(("http://", "https://")):
        return
    head = _DATA_URL.match(url)
    if head is None or head["kind"] not in _KINDS:
        raise _unsupported_image(where)
    data = decoded(url[head.end() :])
    if data is None:
        raise _refused("invalid_base64", "Invalid base64 image_url.", where)
    if len(data) > IMAGE_BYTES_MAX:
        raise _unsupported_image(where)
    _check_detail(image.get("detail", "auto"), data, where, model)


def _check_detail(detail: object, data: bytes, where: str, model: Model) -> None:
    """Check the size. In its own size, an image beyond a number of patches is refused; in detail `high` it is made
    smaller.
    """
    if detail not in DETAILS:
        supported = ", ".join(f"'{one}'" for one in DETAILS)
        raise _refused(
            "invalid_value", f"Invalid value: '{detail}'. Supported values are: {supported}.", f"{where}.detail"
        )
    if model.patches_max is None or detail not in {"auto", "original"}:
        return
    width, height = size_of(data)
    patches = -(-width // PATCH) * -(-height // PATCH)
    if patches > model.patches_max:
        words = f"requires {patches} patches after processing, exceeding the limit of {model.patches_max}"
        raise _refused("invalid_image", f"The image {words}.", where)


def _unsupported_image(where: str) -> Refusal:
    return _refused(
        "invalid_image_format",
        "You uploaded an unsupported image. Please make sure your image is below 20 MB in size and is of one the following "
        "formats: ['png', 'jpeg', 'gif', 'webp'].",
        where,
    )


def _refused(code: str, message: str, param: str) -> Refusal:
    return Refusal(400, code, message, INVALID, param)
