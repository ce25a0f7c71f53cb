"""Finds values that the model's vendor would certainly refuse, and names the caller's field before anything is held.

`abilities.py` says which options a model has; this module checks the values, counts and forms of them (`vendor_limits.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from shared.catalogue.abilities import DEEPSEEK, OPENAIS, json_form
from shared.catalogue.models import Model
from shared.catalogue.turns import turn_fault
from shared.catalogue.vendor_limits import VendorLimits, vendor_limits
from shared.chat import NO_TOOLS, Message, Sampling, Tools
from shared.images import image_bytes, image_kind
from shared.schemas import object_schema

MEGABYTE = 1024 * 1024


class Fault(msgspec.Struct, frozen=True):
    """A value that the vendor would refuse. `option` is a name of `abilities.py`, or `messages` or `max_tokens`;
    `place` is the place within the option, such as `[2].content`; `reason` ends the sentence that callers read.
    """

    option: str
    place: str
    reason: str


def first_fault(
    model: Model,
    messages: Sequence[Message],
    sampling: Sampling | None = None,
    tools: Tools = NO_TOOLS,
    max_tokens: int | None = None,
) -> Fault | None:
    """The first value that the vendor would refuse, or None if no fault is known."""
    asked = _Asked(model, vendor_limits(model), messages, sampling or Sampling(), tools, max_tokens)
    return next((fault for check in _CHECKS for fault in check(asked)), None)


class _Asked(msgspec.Struct, frozen=True):
    model: Model
    limits: VendorLimits
    messages: Sequence[Message]
    sampling: Sampling
    tools: Tools
    max_tokens: int | None


def _max_tokens(asked: _Asked) -> Iterator[Fault]:
    least = asked.limits.output_tokens_min
    if asked.max_tokens is not None and asked.max_tokens < least:
        yield Fault("max_tokens", "", f"is {asked.max_tokens}: {asked.model.name} takes {least} at least")


def _temperature(asked: _Asked) -> Iterator[Fault]:
    value, most = asked.sampling.temperature, asked.limits.temperature_max
    if value is not None and value > most:
        yield Fault("temperature", "", f"is {value:g}: {asked.model.name} takes 0 to {most:g}")


def _top_p(asked: _Asked) -> Iterator[Fault]:
    if asked.sampling.top_p == 0 and not asked.limits.least_top_p_is_0:
        yield Fault("top_p", "", f"is 0: {asked.model.name} takes more than that, and 1 at most")
    both = asked.sampling.top_p is not None and asked.sampling.temperature is not None
    if both and not asked.limits.top_p_beside_temperature:
        yield Fault("top_p", "", f"is given beside a temperature: {asked.model.name} takes one of the two")


def _stop(asked: _Asked) -> Iterator[Fault]:
    stops, limits = asked.sampling.stop, asked.limits
    if limits.stops_max is not None and len(stops) > limits.stops_max:
        yield Fault("stop", "", f"has {len(stops)} entries: {asked.model.name} takes {limits.stops_max} at most")
    if not limits.blank_stops:
        blank = (place for place, stop in enumerate(stops) if not stop.strip())
        yield from (
            Fault("stop", f"[{place}]", f"is blank: {asked.model.name} needs a character that is no white space")
            for place in blank
        )


def _turns(asked: _Asked) -> Iterator[Fault]:
    found = turn_fault(asked.messages, asked.model, takes_blank=asked.limits.blank_turns)
    if found:
        yield Fault("messages", *found)


def _images(asked: _Asked) -> Iterator[Fault]:
    limits, name = asked.limits, asked.model.name
    count = sum(len(message.images()) for message in asked.messages)
    if limits.images_max is not None and count > limits.images_max:
        yield Fault("messages", "", f"has {count} images: {name} takes {limits.images_max} in a request")
    for position, message in enumerate(asked.messages):
        for image in message.images():
            place, url = f"[{position}].content", image.image_url.url
            if (kind := image_kind(url)) not in limits.image_kinds:
                yield Fault("messages", place, f"has a {kind}: {name} takes {', '.join(limits.image_kinds)}")
            if limits.image_bytes_max is not None and image_bytes(url) > limits.image_bytes_max:
                most = f"{limits.image_bytes_max / MEGABYTE:g} MB"
                yield Fault("messages", place, f"has an image of more than {most}, which is all that {name} takes")


def _tools(asked: _Asked) -> Iterator[Fault]:
    for tool in asked.tools.offered:
        schema = object_schema(tool.parameters or {})
        if schema.get("type") != "object":
            yield Fault(
                "tools", "", f'has {tool.name!r}, whose schema is no object: write "type": "object" at its root'
            )
        if refused := sorted(asked.limits.roots_refused & set(schema)):
            yield Fault(
                "tools", "", f"has {tool.name!r} with `{refused[0]}` at the root of its schema: {_below(asked)}"
            )


def _json_answer(asked: _Asked) -> Iterator[Fault]:
    """Check that the prompt mentions JSON. OpenAI: "'messages' must contain the word 'json' in some form"; DeepSeek
    requires much the same (read 2026-11).
    """
    answer, model = asked.sampling.json_answer, asked.model
    if answer is None or model.api not in {*OPENAIS, DEEPSEEK} or model.base_url:
        return
    if json_form(model, asked.tools, answer) != "mode":
        return
    if answer.schema is None and not any(_says_json(message.text()) for message in asked.messages):
        yield Fault("json_answer", "", f"needs the word JSON somewhere in the messages with {model.name}: ask for it")
    if refused := sorted(asked.limits.roots_refused & set(answer.schema or ())):
        yield Fault("json_schema", "", f"has `{refused[0]}` at its root: {_below(asked)}")


def _says_json(text: str) -> bool:
    """True if the text contains "json" in any case. The usual spellings are looked for first: that is a hundred times
    faster, and a text may have 20 MB.
    """
    return "json" in text or "JSON" in text or "json" in text.lower()


def _below(asked: _Asked) -> str:
    return f"{asked.model.name} takes that only further below"


_CHECKS: tuple[Callable[[_Asked], Iterator[Fault]], ...] = (
    _max_tokens,
    _temperature,
    _top_p,
    _stop,
    _turns,
    _images,
    _tools,
    _json_answer,
)
