"""The body of `POST /v1/chat/completions`, and the rules for fields that cannot be honoured.

Facts as of openai-python 3.54, read 2026-11. Null always means "not given".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from api.formats.cache_marks import (
    caching_of,
    fields_of,
    unknown_options,
    wishes_for,
)
from api.formats.openai.fields import CompletionFields, Reasoning
from api.formats.openai.labels import labels_in
from api.formats.openai.tools import marks_in as tool_marks_in
from api.formats.openai.tools import neutral_json_answer
from api.formats.openai.turns import marks_in
from api.formats.wishes import Wishes, check_budget, check_thinking, wishes_of
from shared.chat import (
    Caching,
    Sampling,
)
from shared.errors import InvalidRequest
from shared.json_bounds import refuse_depth
from shared.lanes import ServiceTier

ONLY: dict[str, tuple[object, ...]] = {
    "audio": (),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
}
"""Fields that are refused unless they have one of these values, which change nothing: with other values the answer would be
a different one.
"""
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
"""Fields that are left out and named unless they have one of these values, which change nothing."""
REPLACED = {"functions": "tools", "function_call": "tool_choice"}


class CompletionRequest(CompletionFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/chat/completions`. Unknown fields, and wishes that the model lacks, are left out and named in
    `x-ignored`.
    """

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(**{field: getattr(self, field) for field in ("metadata", *ONLY, *WISHES, *REPLACED)})

    @property
    def output_limit(self) -> int | None:
        """The output limit; if both fields are given, they are equal."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def tier(self) -> ServiceTier | None:
        """The service tier `flex`, or None. Other tiers are wishes and left out."""
        return "flex" if self.service_tier == "flex" else None

    @property
    def limit_name(self) -> str:
        """The name of the field in which the output limit was given."""
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @property
    def with_usage(self) -> bool:
        """True if a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def labels(self) -> dict[str, str] | None:
        """The labels in `metadata` that OpenAI's API would take, which are kept; None if there are none."""
        return labels_in(self.metadata) or None

    @property
    def caching(self) -> Caching:
        """OpenAI's cache options beside marks."""
        return caching_of(self.prompt_cache_key, self.prompt_cache_options, self.prompt_cache_retention)

    def wishes(self, unknown: Sequence[str], *, strict_tools: bool) -> Wishes:
        """Everything that may be left out. `unknown` are the body's unknown fields."""
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
        """The field that explicitly asks to see the thoughts, or None."""
        reasoning = _reasoning(self.reasoning)
        said = {
            "reasoning.exclude": reasoning is not None and reasoning.exclude is False,
            "include_reasoning": self.include_reasoning is True,
            "thinking.display": self.thinking is not None and self.thinking.is_shown and bool(self.thinking.display),
        }
        return next((field for field, is_said in said.items() if is_said), None)

    @property
    def shows_thoughts(self) -> bool:
        """True if the caller gets the thoughts. Fields of other services, such as `reasoning`, ask for them."""
        reasoning = _reasoning(self.reasoning)
        if reasoning and reasoning.exclude is not None:
            return not reasoning.exclude
        if self.include_reasoning is not None:
            return self.include_reasoning
        if self.thinking:
            return self.thinking.is_shown
        return reasoning is not None and reasoning.enabled is not False and reasoning.effort != "none"

    def sampling(self, wishes: Wishes) -> Sampling:
        """The options that are sent to the vendor."""
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
    """Raise `InvalidRequest` for a field that cannot be honoured, and name it."""
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
    """True if the value is allowed; types count, because JSON's false is not 0."""
    return any(type(value) is type(one) and value == one for one in allowed)
