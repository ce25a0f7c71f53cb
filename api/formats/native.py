"""The native API's forms: what `POST /api/endpoint` takes and gives."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

import msgspec

from shared.catalogue import Model
from shared.chat import Message, Probability, Sampling, StopSequence, Temperature, Tokens
from shared.errors import ErrorBody, InvalidRequest
from shared.job import Done, Failed
from shared.money import Usage, nano_to_usd

RECORD_SEPARATOR = "\x1e"
IMAGE_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All optional. `stats` is true for JSON answers and false for streams unless given."""

    stream: bool = False
    stats: bool | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    stop: StopSequence | list[StopSequence] | None = None

    @property
    def with_stats(self) -> bool:
        """Whether tokens and price are wanted."""
        return not self.stream if self.stats is None else self.stats

    @property
    def sampling(self) -> Sampling:
        """What concerns the vendor."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(temperature=self.temperature, top_p=self.top_p, stop=tuple(stop))


class ChatRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /api/endpoint`."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    options: Options = Options()


_decoder = msgspec.json.Decoder(ChatRequest)
_encoder = msgspec.json.Encoder()


def parse_chat_request(body: bytes) -> ChatRequest:
    """Strict: raises `InvalidRequest` that names the field."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"The body is not as it should be: {error}. It takes model, messages and options."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON in UTF-8: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def check_against_model(request: ChatRequest, model: Model, *, messages_max: int, stops_max: int) -> None:
    """Raises `InvalidRequest` that names what the model cannot honour."""
    options = request.options
    if len(request.messages) > messages_max:
        raise InvalidRequest(f"`messages` has more than {messages_max} entries.")
    if len(options.sampling.stop) > stops_max:
        raise InvalidRequest(f"`options.stop` has more than {stops_max} entries.")
    if (options.max_tokens or 0) > model.max_output_tokens:
        raise InvalidRequest(f"`options.max_tokens` is at most {model.max_output_tokens} for {model.name}.")
    for name, value in (("temperature", options.temperature), ("top_p", options.top_p)):
        if value is not None and not model.sampling:
            raise InvalidRequest(f"`options.{name}` is not available with {model.name}: leave it out.")
    if options.stop is not None and not model.stop:
        raise InvalidRequest(f"`options.stop` is not available with {model.name}: leave it out.")
    _check_images(request.messages, model)


def answer_json(done: Done, request: ChatRequest, model_name: str) -> bytes:
    """`{"status": 1, "result": {…}}` with exactly the contract's fields."""
    result: dict[str, Any] = {"response": done.text or ""}
    if request.options.with_stats:
        result |= stats(done.usage, done.charged_nano)
    result |= {"model": model_name, "request": request.messages}
    return _encoder.encode({"status": 1, "result": result})


def stats(usage: Usage, charged_nano: int) -> dict[str, Any]:
    """Billed tokens and the price, an exact JSON number in USD."""
    price = msgspec.Raw(nano_to_usd(charged_nano).encode())
    return {"tokens_input": usage.input, "tokens_output": usage.output, "price": price}


def raw_text(text: str) -> bytes:
    """Text of a raw stream: the record separator is ours there, so it is removed from the model's text."""
    return text.replace(RECORD_SEPARATOR, "").encode()


def stats_record(done: Done) -> bytes:
    """The record after the text of a stream that asked for `stats`."""
    return RECORD_SEPARATOR.encode() + _encoder.encode(stats(done.usage, done.charged_nano)) + b"\n"


def error_record(failed: Failed, request_id: str) -> bytes:
    """The record that ends a stream which failed after its first byte."""
    return RECORD_SEPARATOR.encode() + _encoder.encode({"error": _error(failed.error, request_id)}) + b"\n"


def error_json(error: ErrorBody, request_id: str) -> bytes:
    """`{"status": 0, "error": {"code", "message", "request_id", …}}`."""
    return _encoder.encode({"status": 0, "error": _error(error, request_id)})


def sse_event(sequence: int, name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (sequence, name.encode(), _encoder.encode(data))


def sse_error(sequence: int, error: ErrorBody, request_id: str) -> bytes:
    """The server-sent event of a failure."""
    return sse_event(sequence, "error", {"error": _error(error, request_id)})


def error_headers(error: ErrorBody) -> dict[str, str]:
    """`Retry-After` in whole seconds, where waiting helps."""
    return {} if error.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}


def result_json(result: object) -> bytes:
    """`{"status": 1, "result": …}`."""
    return _encoder.encode({"status": 1, "result": result})


def _error(error: ErrorBody, request_id: str) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "request_id": request_id, **(error.details or {})}


def _check_images(messages: list[Message], model: Model) -> None:
    for position, message in enumerate(messages):
        for image in message.images():
            where = f"`messages[{position}].content`"
            if model.image_tokens is None:
                raise InvalidRequest(f"{where} has an image, and {model.name} takes none: choose another model.")
            if message.role != "user":
                raise InvalidRequest(f"{where} has an image: only messages of the user may.")
            if not IMAGE_URL.fullmatch(image.image_url.url):
                raise InvalidRequest(f"{where}: an image is a data URL of a png, jpeg, gif or webp in base 64.")
