"""The content of items in the Responses API, strictly typed."""

from __future__ import annotations

from typing import Any

import msgspec

from api.formats.cache_marks import CacheBreakpoint, CacheControl, mark_of
from shared.chat import CacheMark
from shared.json_bounds import refuse_depth


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A struct whose unknown fields are left out and named, see `api/formats/known_fields.py`."""


class _Part(Strict, frozen=True, tag_field="type"):
    pass


class _Markable(_Part, frozen=True, kw_only=True):
    """A part whose end may have a cache mark, in OpenAI's form or in Anthropic's."""

    cache_control: CacheControl | None = None
    """A cache mark in Anthropic's form: the vendor's cache keeps everything up to the end of this part."""
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    """A cache mark in OpenAI's form: the vendor's cache keeps everything up to the end of this part."""


class InputText(_Markable, frozen=True, tag="input_text"):
    """A text part of the user, or of instructions."""

    text: str
    """The text of the part."""


class PlainText(_Markable, frozen=True, tag="text"):
    """A text part under the type that chat completions have for it."""

    text: str
    """The text of the part."""


class SentBackText(_Part, frozen=True, tag="output_text"):
    """A text part of an earlier answer, with everything that clients send back of it."""

    text: str
    """The text of the part, unchanged."""
    annotations: Any = None
    """The sources of the text; accepted and ignored."""
    logprobs: Any = None
    """The log probabilities of the text; accepted and ignored."""
    parsed: Any = None
    """A parsed form that the official client adds to answers; accepted and ignored."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(annotations=self.annotations, logprobs=self.logprobs, parsed=self.parsed)


class SentBackRefusal(_Part, frozen=True, tag="refusal"):
    """A refusal in an earlier answer. The model is told it as its own text."""

    refusal: str
    """The words of the refusal."""


class InputImage(_Markable, frozen=True, tag="input_image"):
    """An image as a `data:` URL."""

    image_url: str | None = None
    """The image, `data:image/png;base64,…`; other addresses are refused, because nothing is fetched."""
    file_id: str | None = None
    """Refused unless null: send the image itself in `image_url`."""
    detail: str | None = None
    """Accepted and without effect: images are sent in the vendor's default detail."""


AnyPart = InputText | PlainText | SentBackText | SentBackRefusal | InputImage
Content = str | list[AnyPart]
MARKABLE = (InputText, PlainText, InputImage)


def marks_of(content: Content) -> tuple[CacheMark, ...]:
    """The marks of the parts."""
    parts = () if isinstance(content, str) else content
    found = (mark_of(part, place) for place, part in enumerate(parts) if isinstance(part, MARKABLE))
    return tuple(mark for mark in found if mark)


def without_marks(content: Content) -> Content:
    """The content in the form in which it is stored, without cache marks, because marks hold for one response only."""
    if isinstance(content, str):
        return content
    return [
        msgspec.structs.replace(part, cache_control=None, prompt_cache_breakpoint=None)
        if isinstance(part, MARKABLE)
        else part
        for part in content
    ]


class Item(Strict, frozen=True, kw_only=True, tag_field="type"):
    """Fields that every item may have."""

    id: str | None = None
    """The id of the item; accepted and ignored."""
    status: str | None = None
    """The state of the item; accepted and ignored."""
