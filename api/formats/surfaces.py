"""Finds the API that a path belongs to, and so the form of its errors."""

from __future__ import annotations

from typing import Any, Protocol

from api.formats.anthropic import errors as anthropic_errors
from api.formats.native import answers as native_answers
from api.formats.openai import errors as openai_errors
from shared.errors import ErrorBody


class Surface(Protocol):
    """One API's form of errors."""

    @property
    def ERROR(self) -> Any:  # noqa: ANN401, N802 - a msgspec type; a constant of a module
        """The msgspec type of the body."""

    @property
    def CODE_AT(self) -> tuple[str, ...]:  # noqa: N802 - a constant of a module
        """The path to the body's field with the code of the error."""

    def error_json(self, error: ErrorBody, request_id: str) -> bytes:
        """The body."""

    def error_headers(self, error: ErrorBody) -> dict[str, str]:
        """Headers that tell clients whether and when to retry."""


SURFACES: tuple[tuple[str, Surface], ...] = (
    ("/v1/messages", anthropic_errors),
    ("/v1/v1/messages", anthropic_errors),
    ("/messages", anthropic_errors),
    ("/v1/", openai_errors),
    ("/chat/completions", openai_errors),
    ("/responses", openai_errors),
    ("/", native_answers),
)
"""APIs by the beginning of the path; the first that matches counts. Some paths are not routed: clients with a wrong base
URL call them.
"""


def surface_of(path: str) -> Surface:
    """The API of a path."""
    return next((surface for start, surface in SURFACES if path.startswith(start)), native_answers)
