"""What a model cannot do is refused before anything is held for it, by the name that the caller's API has for it."""

from __future__ import annotations

import re

from api.formats.asked import Asked
from shared.catalogue.abilities import unavailable
from shared.catalogue.models import Model
from shared.chat import Message
from shared.errors import InvalidRequest
from shared.settings import Settings

IMAGE_TOKENS_MAX = 20_000_000
"""The bounds of one request's images, in tokens. No model's window comes near."""
IMAGE_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


def check_against_model(asked: Asked, model: Model, settings: Settings) -> None:
    """Raises `InvalidRequest` that names what is too much, or what the model cannot honour."""
    if len(asked.messages) > settings.messages_max:
        raise InvalidRequest(f"`{asked.name_of('messages')}` has more than {settings.messages_max} entries.")
    if len(asked.sampling.stop) > settings.stop_sequences_max:
        raise InvalidRequest(f"`{asked.name_of('stop')}` has more than {settings.stop_sequences_max} entries.")
    if len(asked.tools.offered) > settings.tools_max:
        raise InvalidRequest(f"`{asked.name_of('tools')}` has more than {settings.tools_max} entries.")
    if (asked.max_tokens or 0) > model.max_output_tokens:
        raise InvalidRequest(f"`{asked.name_of('max_tokens')}` is at most {model.max_output_tokens} for {model.name}.")
    option = unavailable(model, asked.sampling, asked.tools, asked.messages)
    if option:
        raise InvalidRequest(f"`{asked.name_of(option)}` is not available with {model.name}: leave it out.")
    for position, message in enumerate(asked.messages):
        _check_images(f"`{asked.name_of('messages')}[{position}].content`", message, model)
    images = sum(len(message.images()) for message in asked.messages) if model.image_tokens else 0
    if images * (model.image_tokens or 0) > IMAGE_TOKENS_MAX:
        raise InvalidRequest(f"`{asked.name_of('messages')}` has {images} images: that is more than any model takes.")


def _check_images(where: str, message: Message, model: Model) -> None:
    for image in message.images():
        if model.image_tokens is None:
            raise InvalidRequest(f"{where} has an image, and {model.name} takes none: choose another model.")
        if message.role != "user":
            raise InvalidRequest(f"{where} has an image: only messages of the user may.")
        if not IMAGE_URL.fullmatch(image.image_url.url):
            raise InvalidRequest(f"{where}: an image is a data URL of a png, jpeg, gif or webp in base 64.")
