"""Refusals of the models behind Converse, company by company; Bedrock passes their words on.

Sources, read 2026-11: "each stop sequence must contain non-whitespace" (github.com/BerriAI/litellm/issues/3286), "final
assistant content cannot end with trailing whitespace" (github.com/langchain-ai/langchain-aws/issues/532), "image
exceeds 5 MB maximum" and "the image appears to be a image/png image"
(github.com/aws-samples/amazon-bedrock-client-for-mac/issues/130), "input_schema does not support oneOf, allOf, or anyOf
at the top level", "Tool names must be unique", "`tool_use` ids must be unique"; Mistral's stop sequences:
docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html; 3.75 MB for an image:
…/APIReference/API_runtime_Message.html; "Too much media: 0 document pages + 102 images > 100"
(github.com/anthropics/claude-code/issues/19822), 600 with a larger window
(platform.claude.com/docs/en/build-with-claude/vision).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.simulator.bedrock.constraints import check_format
from deploy.simulator.bedrock.models import Model
from deploy.simulator.bedrock.rules import invalid
from deploy.simulator.bedrock.tools import Image, ToolConfig, Turn
from deploy.simulator.exchange import Refusal
from deploy.simulator.pictures import decoded, kind_of

BASE64_MAX = 5 * 1024 * 1024
"""Claude's limit counts the bytes in base 64, which equals 3.75 MB of image, the limit of the others."""
IMAGES_MAX, SMALL_WINDOW, SMALL_IMAGES_MAX = 600, 200_000, 100
TOP_K_MAX = 500
MISTRAL_STOPS_MAX = 10
UNCHANGING = {"temperature": 1, "top_p": 0.99}
_ROOTS = {"oneOf", "allOf", "anyOf"}


def check_sampling(model: Model, temperature: float | None, top_p: float | None) -> None:
    """Raise `Refusal` for sampling that the model refuses. Claude from 4.5 on takes one of the two options
    (github.com/mem0ai/mem0/pull/4147), from Opus 4.7 on neither, except for values that change nothing; GPT knows no such
    field.
    """
    given = {"temperature": temperature, "top_p": top_p}
    names = [name for name, value in given.items() if value is not None]
    if model.sampling != "both" and len(names) > 1:
        raise _said("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if model.sampling != "neither" or not names:
        return
    if not model.id.startswith("anthropic."):
        field = "topP" if names == ["top_p"] else names[0]
        raise invalid(f"This model doesn't support the {field} field. Remove {field} and try again.")
    if given[names[0]] != UNCHANGING[names[0]]:
        raise _said(f"`{names[0]}` is deprecated for this model.")


def check_company(
    model: Model, turns: list[Turn], stops: list[str], config: ToolConfig | None, fields: dict[str, Any]
) -> None:
    """Check a request against the model's own rules; raises `Refusal`."""
    _check_images(turns, model)
    if model.id.startswith("anthropic."):
        _check_claude(turns, stops, config, fields)
    if model.id.startswith("mistral.") and len(stops) > MISTRAL_STOPS_MAX:
        raise _said(f"stop: ensure this value has at most {MISTRAL_STOPS_MAX} items")


def _check_claude(turns: list[Turn], stops: list[str], config: ToolConfig | None, fields: dict[str, Any]) -> None:
    if any(not stop.strip() for stop in stops):
        raise _said("stop_sequences: each stop sequence must contain non-whitespace")
    last = turns[-1]
    said = [block for block in last.content if not block.cache_point]
    if last.role == "assistant" and (said[-1].text or "x")[-1].isspace():
        raise _said("messages: final assistant content cannot end with trailing whitespace")
    if fields.get("top_k", 0) > TOP_K_MAX:
        raise invalid(
            f"Malformed input request: #/top_k: {fields['top_k']} is not less or equal to {TOP_K_MAX}, please reformat your "
            "input and try again."
        )
    names = [tool.tool_spec.name for tool in config.tools] if config else []
    if len(set(names)) < len(names):
        raise _said("tools: Tool names must be unique.")
    for i, tool in enumerate(config.tools if config else ()):
        if _ROOTS & set(tool.tool_spec.input_schema.json):
            words = "input_schema does not support oneOf, allOf, or anyOf at the top level"
            raise _said(f"tools.{i}.custom.input_schema: {words}")
    _check_ids(turns)


def _check_ids(turns: list[Turn]) -> None:
    seen: set[str] = set()
    for i, turn in enumerate(turns):
        for j, block in enumerate(turn.content):
            if block.tool_use and block.tool_use.tool_use_id in seen:
                raise _said(f"messages.{i}.content.{j}: `tool_use` ids must be unique")
            seen |= {block.tool_use.tool_use_id} if block.tool_use else set()


def _check_images(turns: list[Turn], model: Model) -> None:
    count, most = sum(1 for _ in _images(turns)), IMAGES_MAX if model.context > SMALL_WINDOW else SMALL_IMAGES_MAX
    if model.id.startswith("anthropic.") and count > most:
        raise _said(f"Too much media: 0 document pages + {count} images > {most}")
    for i, j, image in _images(turns):
        where = f"messages.{i + 1}.member.content.{j + 1}.member.image"
        check_format(f"{where}.format", image.format)
        data = decoded(image.source.bytes)
        if data is None:
            raise Refusal(400, "SerializationException", f"{where}.source.bytes is no valid base 64")
        kind = kind_of(data)
        if model.id.startswith("anthropic."):
            place = f"messages.{i}.content.{j}.image.source"
            if len(image.source.bytes) > BASE64_MAX:
                size = f"{len(image.source.bytes)} bytes > {BASE64_MAX} bytes"
                raise _said(f"{place}.base64: image exceeds 5 MB maximum: {size}")
            if kind and kind != image.format:
                said = f"using the image/{image.format} media type, but the image appears to be a image/{kind} image"
                raise _said(f"{place}.bytes: The image was specified {said}")
        elif len(image.source.bytes) > BASE64_MAX:
            raise _said("The image size exceeds the maximum of 3.75 MB")
        elif kind and kind != image.format:
            raise _said("The provided image does not match the specified image format.")


def _images(turns: list[Turn]) -> Iterator[tuple[int, int, Image]]:
    for i, turn in enumerate(turns):
        for j, block in enumerate(turn.content):
            if block.image:
                yield i, j, block.image
            for part in block.tool_result.content if block.tool_result else ():
                if part.image:
                    yield i, j, part.image


def _said(words: str) -> Refusal:
    return invalid(f"The model returned the following errors: {words}")
