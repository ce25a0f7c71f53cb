from __future__ import annotations

from typing import cast

import msgspec
import pytest

from api.formats.asked import Asked, Form
from api.requests.model_check import IMAGE_TOKENS_MAX, fit_to_model
from shared.catalogue.models import load_catalogue
from shared.chat import ImagePart, ImageUrl, Message
from shared.errors import InvalidRequest
from shared.settings import Settings

SETTINGS = Settings.load({"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r"})


def test_more_images_than_can_be_held_are_refused() -> None:
    model = load_catalogue().find("openai-gpt-4o-mini")
    assert model.image_tokens
    most = IMAGE_TOKENS_MAX // model.image_tokens
    image = ImagePart(image_url=ImageUrl(url="data:image/png;base64,AAAA"))

    def check(count: int) -> None:
        messages = [Message("user", [image] * count)]
        form = cast(Form, None)  # for answers only
        asked = Asked(model=model.name, messages=messages, form=form, names={}, body=msgspec.Struct())
        fit_to_model(asked, model, SETTINGS)

    check(most)
    with pytest.raises(InvalidRequest, match=f"`messages` has {most + 1} images"):
        check(most + 1)
