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
"""0 and -1 mean all tokens, as other services in OpenAI's form have it."""
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a stream; they need `stream: true`."""

    include_usage: bool | None = None
    """True: the last chunk before the end has the billed tokens. False by default."""
    include_obfuscation: bool | None = None
    """Accepted and without effect: obfuscation is never added."""


class Reasoning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenRouter's form of reasoning: an effort, or a number of tokens, and whether the caller sees the thoughts."""

    effort: str | None = None
    """The effort, like `reasoning_effort`, which wins where both are given."""
    max_tokens: Tokens | None = None
    """Thinking tokens at most, less than the output limit; it switches thinking on."""
    enabled: bool | None = None
    """True switches thinking on, false switches it off."""
    exclude: bool | None = None
    """True hides the thoughts, false shows them; by default they are shown."""

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
    """The conversation so far, oldest first."""
    stream: bool | None = None
    """True: the answer comes as server-sent events. False by default."""
    stream_options: StreamOptions | None = None
    """Options of the stream; only with `stream: true`."""
    max_tokens: Tokens | None = None
    """Older name of `max_completion_tokens`; where both are given, they are the same."""
    max_completion_tokens: Tokens | None = None
    """Most output tokens, reasoning included; left out, 4,096 (16,384 for reasoning models). It is lowered to the model's
    maximum and to what the account affords; `x-output-limit` says what holds.
    """
    temperature: Temperature | None = None
    """Passed on to the vendor; a model that takes none refuses any but 1, its default."""
    top_p: Probability | None = None
    """Passed on to the vendor; a model that takes none refuses any but 1, its default."""
    stop: StopSequence | list[StopSequence] | None = None
    """One stop sequence or several; a model that takes none, or fewer, refuses them."""
    seed: Seed | None = None
    """Passed on to vendors that take one (OpenAI's chat completions, Gemini); others leave it out."""
    frequency_penalty: Penalty | None = None
    """Passed on to models that have it; others leave it out."""
    presence_penalty: Penalty | None = None
    """Passed on to models that have it; others leave it out."""
    reasoning_effort: str | None = None
    """One of `GET /api/models`' `reasoning_efforts` of the model; another known level becomes the nearest one."""
    response_format: ResponseFormat | None = None
    """The form of the answer: text (the default), a JSON object, or JSON that follows a schema."""
    tools: OfferedTools | None = None
    """Functions that the model may call; those that a vendor would run itself are left out."""
    tool_choice: Choice | None = None
    """Whether the model may (`auto`, the default), must not (`none`) or must (`required`) call a tool, or which one."""
    parallel_tool_calls: bool | None = None
    """False: at most one call in an answer. True by default."""
    user: str | None = None
    """Your own name for your user; OpenAI's models are told it, for others it is left out."""
    safety_identifier: str | None = None
    """The newer name of `user`, which wins where both are given."""
    metadata: LabelsOrMore | None = None
    """Up to 16 labels (names of 64, values of 512 characters at most), shown with the request in `GET /api/requests/{id}`.
    """
    prompt_cache_key: str | None = None
    """Requests with the same key begin alike; OpenAI's models are told a digest of it, for others it is left out."""
    prompt_cache_options: PromptCacheOptions | None = None
    """OpenAI's cache options; models without them leave them out."""
    prompt_cache_retention: str | None = None
    """`in_memory` or `24h`, for OpenAI's models that take it; others leave it out."""
    # fields of other services in OpenAI's form
    reasoning: Reasoning | str | bool | None = None
    """OpenRouter's form of `reasoning_effort`, or an effort by itself, or true or false; it shows the thoughts."""
    include_reasoning: bool | None = None
    """True: the answer has the thoughts in `reasoning_content`. False hides them."""
    thinking: Thinking | None = None
    """Anthropic's form of `reasoning_effort`; `budget_tokens` becomes the nearest effort where the model counts no tokens.
    """
    top_k: TopKOrOff | None = None
    """Only the most likely tokens are considered, where the model has it; 0 and -1 mean all of them."""
    cache_control: CacheControl | None = None
    """Marks the whole request for the vendor's cache, in Anthropic's form."""
    models: list[str] | None = None
    """Other models to fall back on, in order, where `model` cannot be had; `x-model-served` says which one answered."""
    # see ONLY in body.py
    audio: Any = None
    """Refused: no model here answers with sound."""
    logit_bias: Any = None
    """Refused unless it is empty."""
    modalities: Any = None
    """Only `["text"]`, which changes nothing; anything else is refused."""
    n: Any = None
    """Only 1, which changes nothing; anything else is refused."""
    # see WISHES in body.py
    logprobs: Any = None
    """Never given; true is left out and named in `x-ignored`."""
    moderation: Any = None
    """Left out and named in `x-ignored`."""
    prediction: Any = None
    """Left out and named in `x-ignored`."""
    service_tier: Any = None
    """`flex`: slower, at the model's flex price, where it has one (else a 400). `auto` and `default` change nothing;
    another value is left out.
    """
    store: Any = None
    """True is left out and named in `x-ignored`: chat completions are not stored."""
    top_logprobs: Any = None
    """Never given; any but 0 is left out and named in `x-ignored`."""
    verbosity: Any = None
    """Only `medium`, which changes nothing; another value is left out and named in `x-ignored`."""
    web_search_options: Any = None
    """Left out and named in `x-ignored`: no search is run."""
    # see REPLACED in body.py
    functions: Any = None
    """Refused: use `tools`."""
    function_call: Any = None
    """Refused: use `tool_choice`."""
