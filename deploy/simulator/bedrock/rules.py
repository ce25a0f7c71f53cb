"""What Amazon Bedrock's models accept and how it refuses the rest.

Sources: AWS's Converse "supported models and features" table, its model parameter pages and user reports of the exact
texts (2024-2026). Retired ids answer unless `fault=retired` asks for the vendor's refusal.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Literal

import msgspec
from aiohttp import web

from deploy.simulator.exchange import Refusal

_GEOGRAPHIES = {"us", "eu", "apac", "global"}


class Model(msgspec.Struct, frozen=True):
    """One model id and its limits in tokens; `chat` is whether Converse takes more than one message, `choices` are the
    tool choices that it knows.
    """

    id: str
    context: int
    output_max: int
    system: bool = True
    images: bool = False
    chat: bool = True
    prefill: bool = False
    invoke: Literal["", "j2", "command"] = ""
    tools: bool = False
    tools_stream: bool = True
    choices: tuple[str, ...] = ("auto", "any", "tool")

    @property
    def images_in_results(self) -> bool:
        """Whether what a tool says may have images: with Claude and Nova, as far as they take any."""
        return self.images and self.id.startswith(("anthropic.", "amazon.nova"))


def _claude(name: str, context: int, output_max: int, *, images: bool = False) -> Model:
    """Tools came with Claude 3."""
    tools = not name.startswith(("v2", "instant"))
    return Model(f"anthropic.claude-{name}", context, output_max, images=images, prefill=True, tools=tools)


def _nova(name: str, context: int, *, images: bool = False) -> Model:
    return Model(f"amazon.nova-{name}-v1:0", context, 10_000, images=images, tools=True)


def _llama(name: str, context: int, output_max: int, *, images: bool = False, tools: bool = False) -> Model:
    name = f"meta.llama{name}-instruct-v1:0"
    return Model(name, context, output_max, images=images, tools=tools, tools_stream=False, choices=("auto",))


def _other(name: str, context: int, output_max: int) -> Model:
    """Tools, but no choice."""
    return Model(name, context, output_max, tools=True, choices=())


def _mistral(name: str, *choices: str) -> Model:
    return Model(f"mistral.{name}", 32_000, 4_096, tools=True, tools_stream=False, choices=choices)


_ALL = (
    _other("ai21.jamba-1-5-large-v1:0", 256_000, 4_096),
    _other("ai21.jamba-1-5-mini-v1:0", 256_000, 4_096),
    Model("ai21.jamba-instruct-v1:0", 256_000, 4_096),
    Model("ai21.j2-mid-v1", 8_191, 8_191, system=False, chat=False, invoke="j2"),
    Model("ai21.j2-ultra-v1", 8_191, 8_191, system=False, chat=False, invoke="j2"),
    _nova("micro", 128_000),
    _nova("lite", 300_000, images=True),
    _nova("pro", 300_000, images=True),
    Model("amazon.titan-text-premier-v1:0", 32_000, 3_072, system=False),
    Model("amazon.titan-text-express-v1", 8_192, 8_192, system=False),
    Model("amazon.titan-text-lite-v1", 4_096, 4_096, system=False),
    _claude("3-5-haiku-20241022-v1:0", 200_000, 8_192),
    _claude("3-5-sonnet-20241022-v2:0", 200_000, 8_192, images=True),
    _claude("3-5-sonnet-20240620-v1:0", 200_000, 4_096, images=True),
    _claude("3-sonnet-20240229-v1:0", 200_000, 4_096, images=True),
    _claude("3-opus-20240229-v1:0", 200_000, 4_096, images=True),
    _claude("3-haiku-20240307-v1:0", 200_000, 4_096, images=True),
    _claude("v2:1", 200_000, 4_096),
    _claude("v2", 100_000, 4_096),
    _claude("instant-v1", 100_000, 4_096),
    _claude("haiku-4-5-20251001-v1:0", 200_000, 64_000, images=True),
    _claude("sonnet-4-5-20250929-v1:0", 200_000, 64_000, images=True),
    Model("cohere.command-text-v14", 4_096, 4_096, system=False, chat=False, invoke="command"),
    Model("cohere.command-light-text-v14", 4_096, 4_096, system=False, chat=False, invoke="command"),
    _other("cohere.command-r-plus-v1:0", 128_000, 4_000),
    _other("cohere.command-r-v1:0", 128_000, 4_000),
    _llama("3-3-70b", 128_000, 4_096, tools=True),
    _llama("3-2-1b", 128_000, 4_096),
    _llama("3-2-3b", 128_000, 4_096),
    _llama("3-2-11b", 128_000, 4_096, images=True, tools=True),
    _llama("3-2-90b", 128_000, 4_096, images=True, tools=True),
    _llama("3-1-8b", 128_000, 4_096, tools=True),
    _llama("3-1-70b", 128_000, 4_096, tools=True),
    _llama("3-8b", 8_192, 2_048),
    _llama("3-70b", 8_192, 2_048),
    Model("mistral.mistral-7b-instruct-v0:2", 32_000, 4_096, system=False),
    Model("mistral.mixtral-8x7b-instruct-v0:1", 32_000, 4_096, system=False),
    _mistral("mistral-small-2402-v1:0"),
    _mistral("mistral-large-2402-v1:0", "auto", "any"),
)
MODELS: Mapping[str, Model] = {model.id: model for model in _ALL}

RETIRED = Refusal(
    404,
    "ResourceNotFoundException",
    "This model version has reached the end of its life. Please refer to the AWS documentation for more details.",
)
REFUSALS: Mapping[int, Refusal] = {
    400: Refusal(400, "ValidationException", "Malformed input request, please reformat your input and try again."),
    401: Refusal(403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    402: Refusal(400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account."),
    403: Refusal(403, "AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: Refusal(404, "ResourceNotFoundException", "Could not resolve the foundation model from the model identifier."),
    408: Refusal(
        408, "ModelTimeoutException", "Model has timed out in processing the request. Try your request again."
    ),
    422: Refusal(400, "ValidationException", "The request is not valid."),
    424: Refusal(
        424, "ModelErrorException", "The system encountered an unexpected error during processing. Try again."
    ),
    429: Refusal(429, "ThrottlingException", "Too many requests, please wait before trying again."),
    500: Refusal(500, "InternalServerException", "The system encountered an unexpected error during processing."),
    502: Refusal(503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    503: Refusal(503, "ServiceUnavailableException", "Too many connections, please wait before trying again."),
}


def invalid(message: str) -> Refusal:
    """Make a ValidationException."""
    return Refusal(400, "ValidationException", message)


def malformed(error: Exception) -> Refusal:
    """What is said of a body that is no JSON, or has other fields and types than the service's."""
    unknown = re.match("Object contains unknown field `(.*?)`", str(error))
    words = f"#: extraneous key [{unknown[1]}] is not permitted" if unknown else str(error)
    return invalid(f"Malformed input request: {words}, please reformat your input and try again.")


def known_model(model_id: str) -> Model | None:
    """Look up a model by its id, with or without the geography of an inference profile."""
    geography, _, rest = model_id.partition(".")
    return MODELS.get(rest if geography in _GEOGRAPHIES else model_id)


def find_model(model_id: str) -> Model:
    """Look up a model by its id; raises `Refusal`."""
    if (model := known_model(model_id)) is None:
        raise invalid("The provided model identifier is invalid.")
    return model


def check_signed(request: web.Request) -> None:
    """Ask for a SigV4 or bearer authorization, any one; raises `Refusal`."""
    if not request.headers.get("Authorization", "").startswith(("AWS4-HMAC-SHA256 ", "Bearer ")):
        raise Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")


def check_limits(model: Model, limit: int | None, prompt_tokens: int) -> None:
    """Hold the lengths against the model's; raises `Refusal`."""
    if limit is not None and limit > model.output_max:
        raise invalid(
            f"The maximum tokens you requested exceeds the model limit of {model.output_max}. "
            f"Try again with a maximum tokens value that is lower than {model.output_max}."
        )
    if prompt_tokens > model.context:
        raise invalid("Input is too long for requested model.")


def refuse(refusal: Refusal) -> web.Response:
    """Say a refusal: its name is in a header, its words in the body."""
    headers = {
        "x-amzn-RequestId": str(uuid.uuid4()),
        "x-amzn-ErrorType": f"{refusal.code}:http://internal.amazon.com/coral/com.amazon.bedrock/",
    }
    if refusal.retry_after:
        headers["Retry-After"] = str(refusal.retry_after)
    return web.Response(
        status=refusal.status, body=complaint(refusal), headers=headers, content_type="application/json"
    )


def complaint(refusal: Refusal) -> bytes:
    """Say the words of a refusal as JSON."""
    return msgspec.json.encode({"message": refusal.message})


def exception_kind(refusal: Refusal) -> str:
    """Give the name an exception has inside a stream: in lower camel case."""
    code = refusal.code or "internalServerException"
    return code[0].lower() + code[1:]
