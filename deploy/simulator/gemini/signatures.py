"""Ids and signatures of calls, which the Gemini API has from Gemini 3 on.

Sources, read 2026-11: its guides to function calling and to thought signatures, and the texts of its errors as users
report them.
"""

from __future__ import annotations

import base64
from itertools import pairwise

from deploy.simulator.exchange import Refusal
from deploy.simulator.gemini.models import Model
from deploy.simulator.gemini.tools import Content, Part

UNSIGNED = base64.b64encode(b"skip_thought_signature_validator").decode()
"""The value that stands for a signature which was not kept (ai.google.dev/gemini-api/docs/thought-signatures)."""


def signature_of(model: Model) -> str:
    """The signature of this model."""
    return base64.b64encode(f"simulated {model.name}".encode()).decode()


def check_signatures(contents: list[Content], model: Model) -> None:
    """Check that the first call of a turn comes back signed, and that a response names the id of its call; before
    Gemini 3 an id is an unknown field. Raises `Refusal`.
    """
    if not model.is_new:
        _check_no_ids(contents)
        return
    for i, (before, after) in enumerate(pairwise([Content(role="model"), *contents])):
        called = [part.function_call.id for part in before.parts if part.function_call]
        said = [part.function_response.id for part in after.parts if part.function_response]
        if said != called[: len(said)]:
            raise _invalid(f"* GenerateContentRequest.contents[{i}].parts: function_response.id is not the call's.")
        _check_signed(i, after, model)


def _check_no_ids(contents: list[Content]) -> None:
    for i, content in enumerate(contents):
        for j, part in enumerate(content.parts):
            used = part.function_call or part.function_response
            if used and used.id is not None:
                where = f"contents[{i}].parts[{j}]"
                raise _invalid(f"Invalid JSON payload received. Unknown name \"id\" at '{where}': Cannot find field.")


def _check_signed(i: int, content: Content, model: Model) -> None:
    for part in content.parts:
        if part.thought_signature not in {None, signature_of(model), UNSIGNED}:
            raise _invalid("Corrupted thought signature.")
    part = next((part for part in content.parts if part.function_call), Part())
    if part.function_call is None or part.thought_signature is not None:
        return
    raise _invalid(
        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, "
        "and missing thought_signature may lead to degraded model performance. Additional data, function call "
        f"`default_api:{part.function_call.name}` , position {i}."
    )


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)
