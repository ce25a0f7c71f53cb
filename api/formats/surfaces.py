"""Which API a path belongs to, and so how its errors look."""

from __future__ import annotations

from typing import Any, Protocol

from api.formats.anthropic import errors as anthropic_errors
from api.formats.native import answers as native_answers
from api.formats.openai import errors as openai_errors
from shared.errors import ErrorBody


class Surface(Protocol):
    """How one API says an error."""

    @property
    def ERROR(self) -> Any:  # noqa: ANN401, N802 - a msgspec type; a constant of a module
        """The type of the body."""

    @property
    def CODE_AT(self) -> tuple[str, ...]:  # noqa: N802 - a constant of a module
        """The path to the field of the body that says which error it is."""

    def error_json(self, error: ErrorBody, request_id: str) -> bytes:
        """The body."""

    def error_headers(self, error: ErrorBody) -> dict[str, str]:
        """What tells a client whether and when to ask again."""


SURFACES: tuple[tuple[str, Surface], ...] = (
    ("/v1/messages", anthropic_errors),
    ("/v1/v1/messages", anthropic_errors),
    ("/messages", anthropic_errors),
    ("/v1/", openai_errors),
    ("/chat/completions", openai_errors),
    ("/responses", openai_errors),
    ("/", native_answers),
)
"""By the beginning of the path; the first that fits. Some are not routed: a client with a wrong base URL calls them."""


def surface_of(path: str) -> Surface:
    """The API that answers under `path`."""
    return next((surface for start, surface in SURFACES if path.startswith(start)), native_answers)
