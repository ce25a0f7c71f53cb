"""Corrects wrong labels of images, and adds the type to schemas of objects, so that vendors take them."""

from __future__ import annotations

import msgspec

from shared.chat import ImagePart, ImageUrl, Message, Part, Tools
from shared.images import image_kind
from shared.schemas import object_schema


def with_labels(messages: list[Message]) -> list[Message]:
    """The messages with each image labelled as its kind; the very same list if all labels were right."""
    labelled = [_labelled(message) if message.images() else message for message in messages]
    return labelled if any(new is not old for new, old in zip(labelled, messages, strict=True)) else messages


def with_objects(tools: Tools) -> Tools:
    """The tools, each with an object as the schema of its arguments."""
    offered = tuple(
        tool if tool.parameters is None else msgspec.structs.replace(tool, parameters=object_schema(tool.parameters))
        for tool in tools.offered
    )
    return msgspec.structs.replace(tools, offered=offered) if offered else tools


def _labelled(message: Message) -> Message:
    parts = [_part(part) for part in message.content if not isinstance(part, str)]
    if all(new is old for new, old in zip(parts, message.content, strict=True)):
        return message
    return msgspec.structs.replace(message, content=parts)


def _part(part: Part) -> Part:
    if not isinstance(part, ImagePart):
        return part
    url = part.image_url.url
    label = f"data:image/{image_kind(url)};base64,"
    if url.startswith(label):
        return part
    return ImagePart(ImageUrl(label + url[url.find(",") + 1 :]))
