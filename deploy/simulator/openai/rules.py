"""The rules of OpenAI's chat models, and their refusals: one table of errors, one function.

Sources: OpenAI's model pages and error-code page (2025-2026), the public matrix of o-series parameters, and for GPT-5
and later litellm-1.110 (what they refuse) and their errors as users report them, such as "Unsupported value:
'reasoning_effort' does not support 'minimal' with this model. Supported values are: 'none', 'low', 'medium', 'high',
and 'xhigh'."
"""

from __future__ import annotations

from collections.abc import Mapping

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.body import ChatRequest
from deploy.simulator.openai.models import Model
from deploy.simulator.openai.values import INVALID, check_values

RETIRED = Refusal(
    404, "model_not_found", "The model has been deprecated. See https://platform.openai.com/docs/deprecations.", INVALID
)
BLOCKED = Refusal(
    400,
    "content_policy_violation",
    "Your request was rejected as a result of our safety system.",
    INVALID,
)
REFUSALS: Mapping[int, Refusal] = {
    400: Refusal(400, None, "Invalid request.", INVALID),
    401: Refusal(401, "invalid_api_key", "Incorrect API key provided: sk-***.", INVALID),
    402: Refusal(402, "insufficient_balance", "Insufficient Balance", "unknown_error"),
    403: Refusal(403, "unsupported_country_region_territory", "Country not supported.", "request_forbidden"),
    404: Refusal(404, "model_not_found", "The model does not exist or you do not have access to it.", INVALID),
    408: Refusal(408, None, "Request timed out.", "server_error"),
    422: Refusal(422, None, "Invalid parameters.", INVALID),
    424: Refusal(424, None, "Failed dependency.", "server_error"),
    429: Refusal(429, "rate_limit_exceeded", "Rate limit reached. Please try again later.", "requests"),
    500: Refusal(500, None, "The server had an error while processing your request. Sorry about that!", "server_error"),
    502: Refusal(502, None, "Bad gateway.", "server_error"),
    503: Refusal(503, "server_is_overloaded", "The server is currently overloaded. Try again later.", "server_error"),
}
WRONG_KEY = REFUSALS[401]
NO_CREDIT = Refusal(
    429,
    "insufficient_quota",
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, read "
    "the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
    "insufficient_quota",
)
ABOVE_LIMIT = Refusal(
    429,
    "rate_limit_exceeded",
    "Request too large for gpt-4o in organization org-simulated on tokens per min (TPM): Limit 30000, Requested 61337. The "
    "input or output tokens must be reduced in order to run successfully. Visit "
    "https://platform.openai.com/account/rate-limits to learn more.",
    "tokens",
)
"""The refusal of a request that alone exceeds the account's limit of tokens (github.com/continuedev/continue/issues/11717,
read 2026-11).
"""
FULL = Refusal(429, "resource_unavailable", "Resource unavailable. Please try again later.", "resource_unavailable")
"""The refusal at the tier flex without capacity, which is not charged
(developers.openai.com/api/docs/guides/flex-processing, read 2026-11).
"""
TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
_PENALTIES = ("presence_penalty", "frequency_penalty")
_THINKING_REFUSES = ("temperature", "top_p", "logprobs", "top_logprobs")
_REASONERS_REFUSE = ("temperature", "top_p", *_PENALTIES, "logprobs")


def check_chat(body: ChatRequest, model: Model | None, prompt_tokens: int) -> Model:
    """Check a request against the rules of its model, in the order in which OpenAI checks them; raises `Refusal`."""
    if model is None:
        message = f"The model `{body.model}` does not exist or you do not have access to it."
        raise Refusal(404, "model_not_found", message, INVALID)
    if not body.messages:
        raise Refusal(400, "empty_array", "Invalid 'messages': empty array.", INVALID, "messages")
    _check_parameters(body, model)
    check_values(body)
    _check_roles(body, model)
    _check_lengths(body, model, prompt_tokens)
    return model


def check_tier(tier: str | None, model: Model) -> None:
    """Raise `Refusal` for a tier that the model does not have, in the words that inspect_ai's tests expect of gpt-4o at
    flex (read 2026-11).
    """
    if tier is not None and (tier not in TIERS or (tier == "flex" and not model.flex)):
        raise Refusal(400, None, "Invalid service_tier argument", INVALID, "service_tier")


def _check_parameters(body: ChatRequest, model: Model) -> None:
    check_tier(body.service_tier, model)
    if body.stream_options is not None and not body.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, None, message, INVALID, "stream_options")
    if body.stop is not None and not model.stop:
        raise _unsupported_parameter("stop")
    if not model.reasons:
        return
    if body.max_tokens is not None:
        raise _unsupported_parameter("max_tokens", " Use 'max_completion_tokens' instead.")
    _check_effort(body, model)
    if model.modern:
        _check_modern(body, model)
        return
    for name in _REASONERS_REFUSE:
        if getattr(body, name) in {None, *(() if model.system else (1,))}:
            continue
        if model.system:
            raise _unsupported_parameter(name)
        message = f"Unsupported value: '{name}' does not support this value with this model. Only the default is."
        raise Refusal(400, "unsupported_value", message, INVALID, name)


def thinks(body: ChatRequest, model: Model) -> bool:
    """True if the model reasons, and the request does not ask for the effort `none`."""
    return model.reasons and model.effort(body.reasoning_effort) != "none"


def _check_effort(body: ChatRequest, model: Model) -> None:
    if body.reasoning_effort is None or body.reasoning_effort in model.efforts or not model.efforts:
        return
    known = ", ".join(f"'{effort}'" for effort in dict.fromkeys(model.efforts))
    message = f"Unsupported value: 'reasoning_effort' does not support '{body.reasoning_effort}' with this model."
    raise Refusal(400, "unsupported_value", f"{message} Supported values are: {known}.", INVALID, "reasoning_effort")


def _check_modern(body: ChatRequest, model: Model) -> None:
    """Check the rules from GPT-5 on: no penalties, and sampling only for a model that does not think."""
    for name in _PENALTIES:
        if getattr(body, name) is not None:
            raise _unsupported_parameter(name)
    if not thinks(body, model):
        return
    for name in _THINKING_REFUSES:
        value = getattr(body, name)
        if value is None or (name == "temperature" and value == 1):
            continue
        raise _unsupported_parameter(name)


def _check_roles(body: ChatRequest, model: Model) -> None:
    for i, message in enumerate(body.messages):
        if message.role in {"system", "developer"} and not model.system:
            words = f"Unsupported value: 'messages[{i}].role' does not support '{message.role}' with this model."
            raise Refusal(400, "unsupported_value", words, INVALID, f"messages[{i}].role")


def _check_lengths(body: ChatRequest, model: Model, prompt_tokens: int) -> None:
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    name = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    if limit is not None and limit < 1:
        message = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {limit} instead."
        raise Refusal(400, "integer_below_min_value", message, INVALID, name)
    if limit is not None and limit > model.output_max:
        message = f"{name} is too large: {limit}. This model supports at most {model.output_max} completion tokens."
        raise Refusal(400, "invalid_value", message, INVALID, name)
    if prompt_tokens > model.context:
        message = (
            f"This model's maximum context length is {model.context} tokens. However, your messages resulted in "
            f"{prompt_tokens} tokens. Please reduce the length of the messages."
        )
        raise Refusal(400, "context_length_exceeded", message, INVALID, "messages")


def _unsupported_parameter(name: str, hint: str = "") -> Refusal:
    message = f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
    return Refusal(400, "unsupported_parameter", message, INVALID, name)
