"""What `POST /v1/chat/completions` takes: every field of OpenAI's API, and of each what can be honoured here.

Facts as of openai-python 3.54, read 2026-11. Null always means "not given".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from api.formats.openai.messages import AnyMessage
from api.formats.openai.tools import Choice, OfferedTools, ResponseFormat, neutral_json_answer
from shared.chat import Probability, ReasoningEffort, Sampling, StopSequence, Temperature, Tokens
from shared.errors import InvalidRequest

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*\Z")]
LabelValue = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*\Z")]
Hint = Annotated[str, msgspec.Meta(max_length=512)]

ONLY: dict[str, tuple[object, ...]] = {
    "audio": (),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "prediction": (),
    "prompt_cache_options": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields that are taken only when they ask for what happens anyway."""
REPLACED = {"functions": "tools", "function_call": "tool_choice"}


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`include_usage`: the tokens come in a chunk of their own. Obfuscation is never added, so it may be declined."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body. What changes no answer (hints for caches and against abuse) is accepted and dropped."""

    model: str
    messages: Annotated[list[AnyMessage], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    stop: StopSequence | list[StopSequence] | None = None
    seed: Seed | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    reasoning_effort: ReasoningEffort | None = None
    response_format: ResponseFormat | None = None
    tools: OfferedTools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    user: Hint | None = None
    metadata: Annotated[dict[Label, LabelValue], msgspec.Meta(max_length=16)] | None = None
    # hints
    safety_identifier: Hint | None = None
    prompt_cache_key: Hint | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    # see ONLY
    audio: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    modalities: Any = None
    moderation: Any = None
    n: Any = None
    prediction: Any = None
    prompt_cache_options: Any = None
    service_tier: Any = None
    store: Any = None
    top_logprobs: Any = None
    verbosity: Any = None
    web_search_options: Any = None
    # see REPLACED
    functions: Any = None
    function_call: Any = None

    @property
    def output_limit(self) -> int | None:
        """The newer field wins; both are the same where both are given."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def limit_name(self) -> str:
        """What the caller called it."""
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with its tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def sampling(self) -> Sampling:
        """What concerns the vendor."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(stop),
            seed=self.seed,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            reasoning_effort=self.reasoning_effort,
            json_answer=neutral_json_answer(self.response_format),
            user=self.user,
        )


def check(body: CompletionRequest) -> None:
    """Raises `InvalidRequest` that names the field which cannot be honoured."""
    for name, allowed in ONLY.items():
        value = getattr(body, name)
        if value is not None and not any(type(value) is type(one) and value == one for one in allowed):
            may_be = " or ".join(msgspec.json.encode(one).decode() for one in allowed)
            advice = f"it can only be {may_be}" if allowed else "leave it out"
            raise InvalidRequest(f"`{name}` is not available here: {advice}.", param=name)
    for name, instead in REPLACED.items():
        if getattr(body, name) is not None:
            raise InvalidRequest(f"`{name}` is no longer taken: use `{instead}`.", param=name)
    if body.stream_options and not body.stream:
        raise InvalidRequest("`stream_options` needs `stream`: true.", param="stream_options")
    if body.max_tokens is not None and body.output_limit != body.max_tokens:
        raise InvalidRequest(
            "`max_tokens` and `max_completion_tokens` differ: give one of them.", param="max_completion_tokens"
        )
