"""The contents of turns at Gemini: parts with something in them, and images of the kinds that Gemini reads.

Sources: the Gemini API reference (v1beta) and its page on images, and its errors as users report them (2024-2026):
"required oneof field 'data' must have one initialized field", "Unsupported MIME type: image/gif", "Base64 decoding
failed".
"""

from __future__ import annotations

from deploy.simulator.exchange import Refusal
from deploy.simulator.gemini.tools import Content, Part
from deploy.simulator.pictures import decoded, kind_of

URL_SAFE = str.maketrans("-_", "+/")
"""Google accepts both alphabets of base 64."""
IMAGES_MAX = 3_600
IMAGE_KINDS = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")


def check_contents(contents: list[Content], instruction: Content | None) -> None:
    """Raise `Refusal` for a turn of another role, without parts, or with a part that is empty or cannot be read."""
    if not contents:
        raise _invalid("* GenerateContentRequest.contents: contents is not specified")
    if any(content.role not in {"user", "model", "function"} for content in contents):
        raise _invalid("Please use a valid role: user, model.")
    if sum(part.inline_data is not None for content in contents for part in content.parts) > IMAGES_MAX:
        raise _invalid(f"Please use fewer than {IMAGES_MAX} images in your request.")
    places = [(f"contents[{i}]", content) for i, content in enumerate(contents)]
    places += [("system_instruction", instruction)] if instruction else []
    for place, content in places:
        if not content.parts:
            raise _invalid(f"* GenerateContentRequest.{place}.parts: contents.parts must not be empty.")
        for j, part in enumerate(content.parts):
            _check_part(part, f"{place}.parts[{j}]")


def _check_part(part: Part, where: str) -> None:
    data = [part.text or None, part.inline_data, part.function_call, part.function_response]
    if sum(one is not None for one in data) != 1:
        words = "required oneof field 'data' must have one initialized field"
        raise _invalid(f"* GenerateContentRequest.{where}.data: {words}")
    if part.inline_data is None:
        return
    kind, image = part.inline_data.kind, decoded(part.inline_data.data.translate(URL_SAFE))
    if image is None:
        raise _invalid(f"Invalid value at '{where}.inline_data.data' (TYPE_BYTES), Base64 decoding failed")
    if kind not in IMAGE_KINDS:
        raise _invalid(f"Unsupported MIME type: {kind}")
    if kind_of(image) == "gif":
        raise _invalid(
            "Unable to process input image. Please retry or report in "
            "https://developers.generativeai.google/guide/troubleshooting"
        )


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)
