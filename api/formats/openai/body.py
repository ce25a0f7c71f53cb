"""What `POST /v1/chat/completions` takes: the fields of OpenAI's API, and of each what can be honoured here.

Facts as of openai-python 3.54, read 2026-11. Null always means "not given".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from api.formats.cache_marks import (
    CacheControl,
    PromptCacheOptions,
    caching_of,
    fields_of,
    unknown_options,
    wishes_for,
)
from api.formats.openai.labels import LabelsOrMore, labels_in
from api.formats.openai.messages import AnyMessage, marks_in
from api.formats.openai.tools import Choice, OfferedTools, ResponseFormat, neutral_json_answer
from api.formats.openai.tools import marks_in as tool_marks_in
from api.formats.wishes import Thinking, Wishes, check_budget, check_thinking, wishes_of
from shared.chat import (
    MESSAGES_CEILING,
    Caching,
    Probability,
    Sampling,
    StopSequence,
    Temperature,
    Tokens,
)
from shared.errors import InvalidRequest
from shared.json_bounds import refuse_depth
from shared.lanes import ServiceTier

TopKOrOff = Annotated[int, msgspec.Meta(ge=-1, le=100_000)]
"""0 and -1 mean all of them, as other services in OpenAI's form have it."""
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

ONLY: dict[str, tuple[object, ...]] = {
    "audio": (),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
}
"""Fields that are taken only when they ask for what happens anyway: else the answer would be another one."""
WISHES: dict[str, tuple[object, ...]] = {
    "logprobs": (False,),
    "moderation": (),
    "prediction": (),
    "service_tier": ("auto", "default", "flex"),
    "store": (False,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields that are left out and named when they ask for anything else than what happens anyway."""
REPLACED = {"functions": "tools", "function_call": "tool_choice"}


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a stream; they need `stream: true`."""

    include_usage: bool | None = None
    """True: the last chunk before the end has the billed tokens. False by default."""
    include_obfuscation: bool | None = None
    """Accepted and without effect: obfuscation is never added."""


class Reasoning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenRouter's form of reasoning: an effort, or a number of tokens, and whether the caller sees the thoughts."""

    effort: str | None = None
    """As `reasoning_effort`; that field wins where both are given."""
    max_tokens: Tokens | None = None
    """Thinking tokens at most, less than the output limit; it switches thinking on."""
    enabled: bool | None = None
    """True switches thinking on, false switches it off."""
    exclude: bool | None = None
    """True hides the thoughts, false shows them; by default they are shown."""

    def as_thinking(self) -> Thinking | None:
        """The same as Anthropic says it; None when it says nothing but the effort."""
        if self.enabled is False:
            return Thinking(type="disabled", budget_tokens=self.max_tokens)
        return Thinking(type="enabled", budget_tokens=self.max_tokens) if self.enabled or self.max_tokens else None


class CompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/chat/completions`. Unknown fields, and wishes that the model lacks, are left out and named in
    `x-ignored`.
    """

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
    # those of other services in OpenAI's form
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
    # see ONLY
    audio: Any = None
    """Refused: no model here answers with sound."""
    logit_bias: Any = None
    """Refused unless it is empty."""
    modalities: Any = None
    """Only `["text"]`, which changes nothing; anything else is refused."""
    n: Any = None
    """Only 1, which changes nothing; anything else is refused."""
    # see WISHES
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
    # see REPLACED
    functions: Any = None
    """Refused: use `tools`."""
    function_call: Any = None
    """Refused: use `tool_choice`."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec makes a fault of the body."""
        refuse_depth(**{field: getattr(self, field) for field in ("metadata", *ONLY, *WISHES, *REPLACED)})

    @property
    def output_limit(self) -> int | None:
        """The newer field wins; both are the same where both are given."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def tier(self) -> ServiceTier | None:
        """Other tiers are wishes: they are left out."""
        return "flex" if self.service_tier == "flex" else None

    @property
    def limit_name(self) -> str:
        """What the caller called it."""
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with its tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def labels(self) -> dict[str, str] | None:
        """The labels of `metadata` that OpenAI's API would take, which are kept; None when there are none."""
        return labels_in(self.metadata) or None

    @property
    def caching(self) -> Caching:
        """What is wished of OpenAI's cache besides marks."""
        return caching_of(self.prompt_cache_key, self.prompt_cache_options, self.prompt_cache_retention)

    def wishes(self, unknown: Sequence[str], *, strict_tools: bool) -> Wishes:
        """What may be left out; `unknown` are the fields of the body that are not here."""
        known = [field for field, nothing in WISHES.items() if not _is_one_of(getattr(self, field), (None, *nothing))]
        labels = ["metadata"] if self.metadata and self.metadata != self.labels else []
        reasoning, effort = _reasoning(self.reasoning), self.reasoning_effort
        thinking = self.thinking
        if reasoning:
            effort = effort or reasoning.effort
            thinking = thinking or reasoning.as_thinking()
        options = unknown_options(self.prompt_cache_options, self.prompt_cache_retention)
        return wishes_of(
            [*unknown, *known, *labels, *options],
            effort=effort,
            effort_field="reasoning_effort" if self.reasoning_effort else "reasoning",
            thinking=thinking,
            thinking_field="thinking" if self.thinking else "reasoning",
            budget_field="thinking.budget_tokens" if self.thinking else "reasoning.max_tokens",
            marks=[
                *tool_marks_in(self.tools or ()),
                *marks_in(self.messages),
                *fields_of("cache_control", self.cache_control),
            ],
            others={
                **wishes_for(self.caching),
                "top_k": "top_k" if self.top_k and self.top_k > 0 else None,
                "seed": "seed" if self.seed is not None else None,
                "frequency_penalty": "frequency_penalty" if self.frequency_penalty else None,
                "presence_penalty": "presence_penalty" if self.presence_penalty else None,
                "user": "user" if self.user else "safety_identifier" if self.safety_identifier else None,
                "shown_thoughts": self._asks_to_show(),
                "strict_tools": "tools[].function.strict" if strict_tools else None,
            },
        )

    def _asks_to_show(self) -> str | None:
        """The field that says in so many words that the caller wants to see what the model thinks."""
        reasoning = _reasoning(self.reasoning)
        said = {
            "reasoning.exclude": reasoning is not None and reasoning.exclude is False,
            "include_reasoning": self.include_reasoning is True,
            "thinking.display": self.thinking is not None and self.thinking.is_shown and bool(self.thinking.display),
        }
        return next((field for field, is_said in said.items() if is_said), None)

    @property
    def shows_thoughts(self) -> bool:
        """Whether the caller gets what the model thinks: by one of the fields of other services that ask for it."""
        reasoning = _reasoning(self.reasoning)
        if reasoning and reasoning.exclude is not None:
            return not reasoning.exclude
        if self.include_reasoning is not None:
            return self.include_reasoning
        if self.thinking:
            return self.thinking.is_shown
        return reasoning is not None and reasoning.enabled is not False and reasoning.effort != "none"

    def sampling(self, wishes: Wishes) -> Sampling:
        """What concerns the vendor."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k if self.top_k and self.top_k > 0 else None,
            stop=tuple(stop),
            seed=self.seed,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            reasoning_effort=wishes.effort,
            thinking_budget=wishes.thinking_budget,
            shows_thoughts=self.shows_thoughts,
            signs_thoughts=self.shows_thoughts or (self.thinking is not None and self.thinking.is_asked_for),
            json_answer=neutral_json_answer(self.response_format),
            user=self.user or self.safety_identifier,
            caching=self.caching,
        )


def _reasoning(given: Reasoning | str | bool | None) -> Reasoning | None:  # noqa: FBT001 - as the body has it
    match given:
        case bool(enabled):
            return Reasoning(enabled=enabled)
        case str(effort):
            return Reasoning(effort=effort)
        case _:
            return given


def check(body: CompletionRequest) -> None:
    """Raises `InvalidRequest` that names the field which cannot be honoured."""
    for name, allowed in ONLY.items():
        value = getattr(body, name)
        if value is not None and not _is_one_of(value, allowed):
            may_be = " or ".join(msgspec.json.encode(one).decode() for one in allowed)
            advice = f"it can only be {may_be}" if allowed else "leave it out"
            raise InvalidRequest(f"`{name}` is not available here: {advice}.", param=name)
    for name, instead in REPLACED.items():
        if getattr(body, name) is not None:
            raise InvalidRequest(f"`{name}` is no longer taken: use `{instead}`.", param=name)
    check_thinking(body.thinking, body.output_limit)
    if isinstance(body.reasoning, Reasoning):
        check_budget("reasoning.max_tokens", body.reasoning.max_tokens, body.output_limit)
    if body.stream_options and not body.stream:
        raise InvalidRequest("`stream_options` needs `stream`: true.", param="stream_options")
    if body.max_tokens is not None and body.output_limit != body.max_tokens:
        raise InvalidRequest(
            "`max_tokens` and `max_completion_tokens` differ: give one of them.", param="max_completion_tokens"
        )


def _is_one_of(value: object, allowed: Sequence[object]) -> bool:
    """With types: JSON's false is no 0."""
    return any(type(value) is type(one) and value == one for one in allowed)
