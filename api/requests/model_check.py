"""Refuses what a model cannot do before anything is held. Errors name the field as the caller's API does."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import msgspec

from api.formats.asked import Asked
from api.formats.schemas import is_closed
from shared.catalogue.abilities import CONVERSE, DEEPSEEK, GEMINI, OPENAIS, RESPONSES, nearest, tools_max, unavailable
from shared.catalogue.apis import by_its_api
from shared.catalogue.caching import with_marks_taken
from shared.catalogue.faults import first_fault
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.room_to_think import can_go_on_thinking, least_output
from shared.catalogue.thinking import takes_thoughts_back, thinks
from shared.chat import Message, Sampling
from shared.errors import InvalidRequest
from shared.json_bounds import require_bounded
from shared.schemas import object_schema
from shared.settings import Settings
from shared.signatures import own_signature, own_thought
from shared.thoughts import Thought

IMAGE_TOKENS_MAX = 20_000_000
"""Most tokens of one request's images, by their upper bounds; no model's window comes near."""
NAMED_MAX = 20
"""Most fields that one message names."""
IMAGE_PREFIX = re.compile(r"(?i:data:image/(png|jpe?g|gif|webp);base64),")
BASE64 = string.ascii_letters.encode() + string.digits.encode() + b"+/"
PADDING = (b"", b"=", b"==")
PIECE_CHARACTERS = 1_000_000


def fit_to_model(asked: Asked, model: Model, settings: Settings, *, strict: bool = False) -> tuple[Asked, Model]:
    """The request in the form for `model`, with the wishes that the model lacks added to `ignored`, and the model with
    the API that serves the request. Raises `InvalidRequest`, which names a value beyond a limit or an option that the
    model cannot honour; with `strict` also any wish that the model lacks.
    """
    _check_counts(asked, settings)
    fitted, model = with_nearest(asked, model)
    _check_tools(asked, model, settings)
    if strict and fitted.ignored:
        raise InvalidRequest(
            f"{_listed(fitted.ignored)}: not available with {model.name}, and this key is strict: leave it out."
        )
    option = unavailable(model, fitted.sampling, asked.tools, asked.messages)
    if option:
        advice = _advice(option, model, fitted.sampling)
        raise InvalidRequest(f"`{asked.name_of(option)}` is not available with {model.name}: {advice}.")
    _check_schema(asked, model)
    _check_numbers(asked)
    _check_arguments(asked, model)
    for position, message in enumerate(asked.messages):
        _check_images(f"`{asked.name_of('messages')}[{position}].content`", message, model)
    images = sum(len(message.images()) for message in asked.messages) if model.image_tokens else 0
    if images * (model.image_tokens or 0) > IMAGE_TOKENS_MAX:
        raise InvalidRequest(f"`{asked.name_of('messages')}` has {images} images: that is more than any model takes.")
    fault = first_fault(model, asked.messages, fitted.sampling, asked.tools, asked.max_tokens)
    if fault:
        raise InvalidRequest(f"`{asked.name_of(fault.option)}{fault.place}` {fault.reason}.")
    return fitted, model


def at_tier(asked: Asked, model: Model, catalogue: Catalogue) -> Model:
    """The model with the prices of the tier that is asked for. Raises `InvalidRequest` if it lacks the tier."""
    tier = asked.service_tier or "default"
    found = catalogue.at_tier(model, tier)
    if found is None:
        raise InvalidRequest(
            f"`{asked.name_of('service_tier')}`: {model.name} has no price for {tier!r}: leave it out, or take a model with"
            f" `flex` at GET /api/models."
        )
    return found


def _check_schema(asked: Asked, model: Model) -> None:
    """Check the schema of a JSON answer: OpenAI's answers are objects, and strict schemas are closed
    (platform.openai.com/docs/guides/structured-outputs, read 2026-11).
    """
    _check_strict_tools(asked, model)
    answer = asked.sampling.json_answer
    if answer is None or answer.schema is None or model.api not in OPENAIS or not model.json_mode:
        return
    field = asked.name_of("json_schema")
    if answer.schema.get("type") != "object":
        raise InvalidRequest(f'`{field}`: with {model.name} the schema has "type": "object" at its root.')
    if answer.strict and not is_closed(answer.schema):
        raise InvalidRequest(
            f'`{field}`: with {model.name} every object of a strict schema has "additionalProperties": false and requires '
            f"all of its properties. Correct it, or leave out `strict`."
        )


def _check_numbers(asked: Asked) -> None:
    """Check that whole numbers fit into 64 bits, as a job carries them."""
    schemas = {"tools": asked.tools, "json_schema": asked.sampling.json_answer}
    for option, schema in schemas.items():
        try:
            msgspec.msgpack.encode(schema)
        except OverflowError:
            raise InvalidRequest(
                f"`{asked.name_of(option)}` has a whole number beyond 64 bits: write it with an exponent, such as 1e30."
            ) from None


def _check_arguments(asked: Asked, model: Model) -> None:
    """Check the arguments of calls in the history: vendors that take them as objects have all of them decoded."""
    if model.api in {CONVERSE, GEMINI}:
        texts = (call.arguments.encode() for message in asked.messages for call in message.tool_calls)
        require_bounded("`messages[].tool_calls[].function.arguments`", *texts)


def _check_strict_tools(asked: Asked, model: Model) -> None:
    """Check the schemas of strict tools by the same rules."""
    for tool in asked.tools.offered if model.api in OPENAIS else ():
        if tool.strict and tool.parameters is not None and not is_closed(object_schema(tool.parameters)):
            raise InvalidRequest(
                f"`{asked.name_of('tools')}` has {tool.name!r}: with {model.name} every object of a strict schema has "
                f'"additionalProperties": false and requires all of its properties. Correct it, or leave out `strict`.'
            )


def _check_counts(asked: Asked, settings: Settings) -> None:
    if len(asked.messages) > settings.messages_max:
        raise InvalidRequest(f"`{asked.name_of('messages')}` has more than {settings.messages_max} entries.")
    if len(asked.sampling.stop) > settings.stop_sequences_max:
        raise InvalidRequest(f"`{asked.name_of('stop')}` has more than {settings.stop_sequences_max} entries.")


def with_nearest(asked: Asked, model: Model) -> tuple[Asked, Model]:
    """Replace each wish by the nearest that the model can do, and add those that it lacks to `ignored`. Also returns the
    model with the API that serves the request.
    """
    model = by_its_api(model, asked.sampling, asked.tools, asked.wishes)
    sampling, lacking = nearest(model, asked.sampling, asked.wishes, asked.tools)
    marked = with_marks_taken(model, asked.messages, asked.tools)
    if marked.left_out and model.cache_marks:
        lacking.append("cache")
    if marked.shortened:
        lacking.append("cache_time")
    if why := _cannot_think(asked, model, sampling):
        if "reasoning_effort" not in asked.wishes and "thinking" not in asked.wishes:
            raise InvalidRequest(f"`{asked.name_of('reasoning_effort')}`: {why}.")
        lacking += ["reasoning_effort", "thinking"]
        sampling = msgspec.structs.replace(sampling, reasoning_effort="none", thinking_budget=None)
    fields = [field for wish in lacking for field in asked.wishes.get(wish, ())]
    fitted = asked.without([*fields, *_thoughts_left_out(asked, model, sampling)])
    return msgspec.structs.replace(fitted, sampling=sampling, messages=marked.messages, tools=marked.tools), model


def _cannot_think(asked: Asked, model: Model, sampling: Sampling) -> str | None:
    """Why a model that should think cannot; None if it can, or need not."""
    if sampling.reasoning_effort is None or not thinks(model, sampling.reasoning_effort):
        return None
    least = least_output(model)
    if asked.max_tokens is not None and asked.max_tokens < least:
        return f"{model.name} thinks with `{asked.name_of('max_tokens')}` of {least} at least"
    if not can_go_on_thinking(
        model, asked.messages, asked.tools, lambda thought: own_thought(model, thought) is not None
    ):
        return f"{model.name} cannot think while it goes on with an answer that it has begun"
    return None


def _thoughts_left_out(asked: Asked, model: Model, sampling: Sampling) -> tuple[str, ...]:
    """The fields of thoughts that workers will not give the model completely: thoughts of another model, thoughts that lead
    to nothing, and any thoughts if the model does not think now.
    """
    taken = takes_thoughts_back(model, sampling.reasoning_effort) and not (
        model.api == CONVERSE
        and not asked.tools.may_be_called()
        and any(message.tool_calls for message in asked.messages)
    )
    if any(
        _has_foreign_thoughts(message, model)
        or (message.thoughts and not taken)
        or any(not _is_sent(thought, message, model) for thought in message.thoughts)
        for message in asked.messages
    ):
        return asked.thoughts
    return ()


def _is_sent(thought: Thought, message: Message, model: Model) -> bool:
    """True if the vendor takes a thought at its place: not after everything else (Claude, OpenAI), nor without a call after
    it (DeepSeek's reasoner).
    """
    if model.api == DEEPSEEK:
        return bool(model.reasoning_efforts or message.tool_calls)
    if model.api not in {CONVERSE, RESPONSES}:
        return True
    return thought.after_calls < len(message.tool_calls) or bool(message.text()[thought.after_text :].strip())


def _has_foreign_thoughts(message: Message, model: Model) -> bool:
    """True if the message has a thought, or a signature of one, that workers will not give the model."""
    signatures = (call.signature for call in message.tool_calls if call.signature is not None)
    thoughts = any(own_thought(model, thought) is None for thought in message.thoughts)
    return thoughts or any(own_signature(model, signature) is None for signature in signatures)


def _advice(option: str, model: Model, sampling: Sampling) -> str:
    if option in {"tools", "tool_choice"} and model.no_tools_because:
        return model.no_tools_because
    if option == "reasoning_effort" and model.reasoning_efforts:
        beside_tools = sampling.reasoning_effort in model.reasoning_efforts
        return "beside tools it takes none" if beside_tools else f"it takes {', '.join(model.reasoning_efforts)}"
    if option in {"temperature", "top_p"} and model.sampling:
        return "it takes that only while it does not think, so leave it out or ask for the effort none"
    return "leave it out"


def _listed(fields: Sequence[str]) -> str:
    shown = ", ".join(f"`{field[:100]}`" for field in fields[:NAMED_MAX])
    return f"{shown} and {len(fields) - NAMED_MAX} more" if len(fields) > NAMED_MAX else shown


def _check_tools(asked: Asked, model: Model, settings: Settings) -> None:
    vendors = tools_max(model, asked.sampling, asked.tools)
    most = settings.tools_max if vendors is None else min(vendors, settings.tools_max)
    if len(asked.tools.offered) > most:
        name, count = asked.name_of("tools"), len(asked.tools.offered)
        raise InvalidRequest(f"`{name}` has {count} entries: at most {most} are taken with {model.name}.")


def _is_image_url(url: str) -> bool:
    """True if the text is a data URL of an image. It may be as long as a body, so only its beginning is matched: a pattern
    over all of it would take four times as long. The rest is read in pieces, because memory that is used again is much
    faster than new memory.
    """
    prefix = IMAGE_PREFIX.match(url)
    if not prefix or not url.isascii():
        return False
    starts = range(prefix.end(), len(url), PIECE_CHARACTERS)
    rest = b"".join(url[start : start + PIECE_CHARACTERS].encode().translate(None, BASE64) for start in starts)
    return rest in PADDING and url.endswith(rest.decode()) and len(url) - prefix.end() > len(rest)


def _check_images(where: str, message: Message, model: Model) -> None:
    for image in message.images():
        if model.image_tokens is None:
            raise InvalidRequest(f"{where} has an image, and {model.name} takes none: choose another model.")
        if message.role not in {"user", "tool"}:
            raise InvalidRequest(f"{where} has an image: only messages of the user and results of tools may.")
        if not _is_image_url(image.image_url.url):
            raise InvalidRequest(
                f"{where} has an image that is no png, jpeg, gif or webp in base 64, which a URL is a data URL of: nothing is"
                f" fetched here."
            )
