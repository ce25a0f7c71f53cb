"""JSON Schemas as Gemini checks them: Google's own subset in `parameters`, and references in `parametersJsonSchema`.

Sources: the Gemini API reference (v1beta), google-genai 3.4 ("If `$ref` is set on a sub-schema, no other properties, except
for than those starting as a `$`, may be set"), and its errors as users report them (2024-2026): "Unknown name "$ref" at '…':
Cannot find field.", "reference to undefined schema at properties.x" (github.com/google-gemini/gemini-cli/issues/13326).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.simulator.exchange import Refusal

OWN = {
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
}
"""The fields of Google's `Schema`."""


def check_own(schema: dict[str, Any], where: str) -> None:
    """Raise `Refusal` for a keyword that Google's `Schema` lacks."""
    for place, part in _parts(schema):
        if unknown := sorted(set(part) - OWN):
            at = ".".join((where, *place))
            raise _invalid(
                f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at '{at}': Cannot find field."
            )


def check_json(schema: dict[str, Any], where: str, *, of_arguments: bool = False) -> None:
    """Raise `Refusal` for arguments that are no object, and for a reference that is not alone or leads nowhere. An answer may
    be a list (ai.google.dev/gemini-api/docs/structured-output, read 2026-11).
    """
    if of_arguments and schema.get("type", "object") != "object":
        raise _invalid(f"* GenerateContentRequest.{where}: schema must be of type OBJECT at its root")
    for place, part in _parts(schema):
        reference, at = part.get("$ref"), ".".join(place)
        if not isinstance(reference, str):
            continue
        if beside := sorted(name for name in part if not name.startswith("$")):
            words = f"`$ref` is set alongside unsupported fields: {beside[0]}"
            raise _invalid(f"* GenerateContentRequest.{where}: undefined schema at {at}: {words}")
        if not _leads_somewhere(schema, reference):
            raise _invalid(f"reference to undefined schema at {at}")


def _leads_somewhere(schema: dict[str, Any], reference: str) -> bool:
    target: Any = schema if reference.startswith("#") else None
    for step in reference.removeprefix("#").split("/")[1:]:
        target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
    return isinstance(target, dict)


def _parts(root: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every schema within, the root first, and where it stands."""
    left: list[tuple[tuple[str, ...], object]] = [((), root)]
    while left:
        where, part = left.pop(0)
        if not isinstance(part, dict):
            continue
        yield where, part
        for name in ("properties", "$defs", "definitions"):
            within = part.get(name)
            left += [((*where, name, key), value) for key, value in within.items()] if isinstance(within, dict) else []
        left += [((*where, "items"), part["items"])] if "items" in part else []
        for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
            options = part.get(name)
            left += [
                ((*where, name, str(i)), one) for i, one in enumerate(options if isinstance(options, list) else ())
            ]


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)
