"""Refusals of Amazon Bedrock for what its models do not accept.

Sources: user reports of the exact texts (2024-2026). Retired ids answer unless `fault=retired` asks for the vendor's
refusal.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

import msgspec
from aiohttp import web

from deploy.simulator.bedrock.models import MODELS, Model
from deploy.simulator.exchange import Refusal

_GEOGRAPHIES = {"us", "eu", "apac", "jp", "au", "ca", "global"}


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


WRONG_KEY = REFUSALS[401]
NO_CREDIT = Refusal(
    403,
    "AccessDeniedException",
    "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided. Your AWS "
    "Marketplace subscription for this model cannot be completed at this time. If you recently fixed this issue, try again "
    "after 2 minutes.",
)


def invalid(message: str) -> Refusal:
    """Make a ValidationException."""
    return Refusal(400, "ValidationException", message)


def malformed(error: Exception) -> Refusal:
    """The refusal of a body that is no JSON, or has fields or types that the service does not know."""
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
    if model.profiled and model_id == model.id:
        raise invalid(
            f"Invocation of model ID {model_id} with on-demand throughput isn’t supported. Retry your request with the ID or "
            "ARN of an inference profile that contains this model."
        )
    return model


def check_signed(request: web.Request) -> None:
    """Require any SigV4 or bearer authorization; raises `Refusal`."""
    if not request.headers.get("Authorization", "").startswith(("AWS4-HMAC-SHA256 ", "Bearer ")):
        raise Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")


def check_limits(model: Model, limit: int | None, prompt_tokens: int) -> None:
    """Check the lengths against the model's limits; raises `Refusal`."""
    if limit is not None and limit > model.output_max:
        raise invalid(
            f"The maximum tokens you requested exceeds the model limit of {model.output_max}. "
            f"Try again with a maximum tokens value that is lower than {model.output_max}."
        )
    if prompt_tokens > model.context:
        raise invalid("Input is too long for requested model.")


def refuse(refusal: Refusal) -> web.Response:
    """A refusal: its name is in a header, its words in the body."""
    headers = {
        "x-amzn-RequestId": str(uuid.uuid4()),
        "x-amzn-ErrorType": f"{refusal.code}:http://internal.amazon.com/coral/com.amazon.bedrock/",
    }
    if refusal.retry_after:
        headers["Retry-After"] = f"{refusal.retry_after:g}"
    return web.Response(
        status=refusal.status, body=complaint(refusal), headers=headers, content_type="application/json"
    )


def complaint(refusal: Refusal) -> bytes:
    """The words of a refusal as JSON."""
    return msgspec.json.encode({"message": refusal.message})


def exception_kind(refusal: Refusal) -> str:
    """The name of an exception in a stream, in lower camel case."""
    code = refusal.code or "internalServerException"
    return code[0].lower() + code[1:]
