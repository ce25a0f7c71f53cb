"""The fields that `POST /v1/chat/completions` takes, strictly typed. Null always means "not given"."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from api.formats.cache_marks import CacheControl, PromptCacheOptions
from api.formats.openai.labels import LabelsOrMore
from api.formats.openai.messages import AnyMessage
from api.formats.openai.tools import Choice, OfferedTools, ResponseFormat
from api.formats.wishes import Thinking
from shared.chat import MESSAGES_CEILING, Probability, StopSequence, Temperature, Tokens

TopKOrOff = Annotated[int, msgspec.Meta(ge=-1, le=100_000)]
"""The values 0 and -1 mean all tokens, as in other services that have OpenAI's form."""
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a stream; they need `stream: true`."""

    include_usage: bool | None = None
    """True adds a chunk with the billed tokens before the end of the stream. False by default."""
    include_obfuscation: bool | None = None
    """Accepted and without effect: obfuscation is never added."""


class Reasoning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reasoning in OpenRouter's form: an effort or a number of tokens, and whether the caller sees the thoughts."""

    effort: str | None = None
    """The reasoning effort. `reasoning_effort` wins if both are given."""
    max_tokens: Tokens | None = None
    """The most reasoning tokens, less than the output limit; giving a number switches thinking on."""
    enabled: bool | None = None
    """True switches thinking on, false switches it off."""
    exclude: bool | None = None
    """True hides the thoughts, false shows them. False by default."""

    def as_thinking(self) -> Thinking | None:
        """The reasoning in Anthropic's form; None if only an effort is given."""
        if self.enabled is False:
            return Thinking(type="disabled", budget_tokens=self.max_tokens)
        return Thinking(type="enabled", budget_tokens=self.max_tokens) if self.enabled or self.max_tokens else None


class CompletionFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a body; `api/formats/openai/body.py` checks them."""

    model: str
    """A name or an alias of `GET /v1/models`."""
    messages: Annotated[list[AnyMessage], msgspec.Meta(min_length=1, max_length=MESSAGES_CEILING)]
    """The conversation so far, oldest message first."""
    stream: bool | None = None
    """True sends the answer as server-sent events. False by default."""
    stream_options: StreamOptions | None = None
    """Options of the stream; only with `stream: true`."""
    max_tokens: Tokens | None = None
    """The older name of `max_completion_tokens`; if both are given, they must be equal."""
    max_completion_tokens: Tokens | None = None
    """The most output tokens of the answer, reasoning included; by default 4,096 (16,384 for reasoning models). The
    limit is lowered to the model's maximum and to what the account can afford; `x-output-limit` says which limit
    applies.
    """
    temperature: Temperature | None = None
    """The sampling temperature, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    top_p: Probability | None = None
    """The sampling bound `top_p`, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    stop: StopSequence | list[StopSequence] | None = None
    """One stop sequence or several. A model that takes none, or fewer, refuses them."""
    seed: Seed | None = None
    """The seed of the sampling, passed on to vendors that take one (OpenAI's chat completions, Gemini); others leave it
    out.
    """
    frequency_penalty: Penalty | None = None
    """The frequency penalty, passed on to models that have the option; others leave it out."""
    presence_penalty: Penalty | None = None
    """The presence penalty, passed on to models that have the option; others leave it out."""
    reasoning_effort: str | None = None
    """One of the model's `reasoning_efforts` in `GET /api/models`; another known effort becomes the nearest one that
    the model has.
    """
    response_format: ResponseFormat | None = None
    """The form of the answer: text (the default), a JSON object, or JSON that follows a schema."""
    tools: OfferedTools | None = None
    """The functions that the model may call. Tools that a vendor would run itself are left out."""
    tool_choice: Choice | None = None
    """A choice of tools: the model may (`auto`, the default), must not (`none`) or must (`required`) call one, or must
    call a certain one.
    """
    parallel_tool_calls: bool | None = None
    """False allows one call in an answer at most. True by default."""
    user: str | None = None
    """Your own name for your user. OpenAI's models are told it; for others it is left out."""
    safety_identifier: str | None = None
    """The newer name of `user`; it wins if both are given."""
    metadata: LabelsOrMore | None = None
    """Up to 16 labels (names of up to 64, values of up to 512 characters), which `GET /api/requests/{id}` shows."""
    prompt_cache_key: str | None = None
    """A key that requests with the same beginning share. OpenAI's models are told a digest of it; for others it is left
    out.
    """
    prompt_cache_options: PromptCacheOptions | None = None
    """OpenAI's cache options; they are left out for models that do not have them."""
    prompt_cache_retention: str | None = None
    """`in_memory` or `24h`, for OpenAI's models that take it; for others it is left out."""
    # fields of other services in OpenAI's form
    reasoning: Reasoning | str | bool | None = None
    """Reasoning in OpenRouter's form, an effort, or true or false. With this field the answer shows the thoughts."""
    include_reasoning: bool | None = None
    """True shows the thoughts in `reasoning_content`, false hides them."""
    thinking: Thinking | None = None
    """The thinking in Anthropic's form. For models that count no thinking tokens, `budget_tokens` becomes the nearest
    effort.
    """
    top_k: TopKOrOff | None = None
    """The number of most likely tokens that are considered, for models that have the option; 0 and -1 mean all
    tokens.
    """
    cache_control: CacheControl | None = None
    """A cache mark in Anthropic's form: the vendor's cache keeps the whole request."""
    models: list[str] | None = None
    """Fallback models, in order, for the case that `model` cannot be had; `x-model-served` names the model that
    answered.
    """
    # see ONLY in body.py
    audio: Any = None
    """Refused unless null: no model here answers with sound."""
    logit_bias: Any = None
    """Refused unless it is empty or null."""
    modalities: Any = None
    """Only `["text"]`, which changes nothing; anything else is refused."""
    n: Any = None
    """Only 1, which changes nothing; anything else is refused."""
    # see WISHES in body.py
    logprobs: Any = None
    """False, which changes nothing. True is left out and named in `x-ignored`: log probabilities are never given."""
    moderation: Any = None
    """Left out and named in `x-ignored`."""
    prediction: Any = None
    """Left out and named in `x-ignored`."""
    service_tier: Any = None
    """The service tier. `flex` is slower, at the model's flex price; a model without one answers with a 400. `auto` and
    `default` change nothing; any other value is left out.
    """
    store: Any = None
    """True is left out and named in `x-ignored`: chat completions are not stored."""
    top_logprobs: Any = None
    """0, which changes nothing. Any other value is left out and named in `x-ignored`: log probabilities are never
    given.
    """
    verbosity: Any = None
    """Only `medium`, which changes nothing; any other value is left out and named in `x-ignored`."""
    web_search_options: Any = None
    """Left out and named in `x-ignored`: no search is run."""
    # see REPLACED in body.py
    functions: Any = None
    """Refused: use `tools`."""
    function_call: Any = None
    """Refused: use `tool_choice`."""
