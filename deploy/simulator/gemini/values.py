"""The ranges and counts of Gemini's generation config, one table.

Sources: the Gemini API reference (v1beta), and its errors as users report them (2024-2026): "the number of stop_sequences
must not exceed 5" (github.com/cheshire-cat-ai/core/issues/822), "a topK value of 50 but the supported range is from 1
(inclusive) to 41 (exclusive)" (github.com/genkit-ai/genkit/issues/1397), "Penalty is not enabled for
models/gemini-2.5-flash".
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.simulator.exchange import Refusal
from deploy.simulator.gemini.models import Model

RANGES = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
STOPS_MAX, TOP_K_MAX, SEED_MAX = 5, 40, 2**31 - 1
BUDGET_MIN, BUDGET_MAX = 512, 24_576
BOUND_TOP_K = ("gemini-1.5", "gemini-2.0")
NO_PENALTIES = ("gemini-2.5",)


class ThinkingConfig(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The amount of thinking: a number of tokens or a level. Google reads fields in both spellings, and google-genai
    3.4 writes these in the other one.
    """

    thinking_budget: int | None = None
    thinking_level: str | None = None
    include_thoughts: bool | None = None
    also_level: str | None = msgspec.field(default=None, name="thinking_level")
    also_budget: int | None = msgspec.field(default=None, name="thinking_budget")
    also_include: bool | None = msgspec.field(default=None, name="include_thoughts")

    @property
    def budget(self) -> int | None:
        """The budget in tokens."""
        return self.also_budget if self.thinking_budget is None else self.thinking_budget

    @property
    def includes_thoughts(self) -> bool:
        """True if the request asks for an answer that shows the model's thoughts."""
        return bool(self.include_thoughts or self.also_include)

    @property
    def level(self) -> str | None:
        """The thinking level in small letters."""
        level = self.thinking_level or self.also_level
        return level and level.lower()


class GenerationConfig(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Limits, sampling and the form of the answer; unknown fields are an error, as they are at Google."""

    max_output_tokens: int | None = None
    stop_sequences: list[str] = []
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_mime_type: str | None = None
    response_json_schema: dict[str, Any] | None = None
    candidate_count: int | None = None
    thinking_config: ThinkingConfig | None = None
    response_modalities: Any = None
    media_resolution: Any = None


def thinks(config: GenerationConfig, model: Model) -> bool:
    """True if the model thinks before it answers."""
    told = config.thinking_config
    if told is None or told.budget is None:
        return model.thinks
    return told.budget != 0 or bool(model.levels)


def check_thinking(config: GenerationConfig, model: Model) -> None:
    """Raise `Refusal` for a level or a budget that the model does not know, or for both."""
    told = config.thinking_config
    if told is None:
        return
    if told.level and told.budget is not None:
        raise _invalid("You can only set only one of thinking budget and thinking level.")
    if told.level and told.level not in model.levels:
        raise _invalid(f"Thinking level {told.level.upper()} is not supported for this model.")
    if told.budget is not None and not model.budget:
        raise _invalid("Thinking budget is not supported for this model.")
    if told.budget not in {None, 0, -1} and not BUDGET_MIN <= (told.budget or 0) <= BUDGET_MAX:
        raise _invalid(
            f"The thinking budget {told.budget} is invalid. Please choose a value between {BUDGET_MIN} and {BUDGET_MAX}."
        )
    if told.includes_thoughts and not thinks(config, model):
        raise _invalid("include_thoughts is only enabled when thinking is enabled.")


def check_values(config: GenerationConfig, model: Model, *, stream: bool) -> None:
    """Raise `Refusal` for the first value that is out of its range."""
    output_max = model.output_max if stream else model.unstreamed_max or model.output_max
    for name, (least, most) in RANGES.items():
        value = getattr(config, name)
        if value is not None and not least <= value <= most:
            raise _wrong(name, f"{name} must be in the range [{least:.1f}, {most:.1f}].")
    if len(config.stop_sequences) > STOPS_MAX:
        raise _wrong("stop_sequences", f"the number of stop_sequences must not exceed {STOPS_MAX}.")
    if config.seed is not None and not -SEED_MAX - 1 <= config.seed <= SEED_MAX:
        raise _invalid(f"Invalid value at 'generation_config.seed' (TYPE_INT32), {config.seed}")
    if config.top_k is not None and model.name.startswith(BOUND_TOP_K) and not 1 <= config.top_k <= TOP_K_MAX:
        raise _out_of_range("topK", config.top_k, TOP_K_MAX)
    if config.max_output_tokens is not None and not 1 <= config.max_output_tokens <= output_max:
        raise _out_of_range("maxOutputTokens", config.max_output_tokens, output_max)
    if model.name.startswith(NO_PENALTIES) and (config.presence_penalty or config.frequency_penalty):
        raise _invalid(f"Penalty is not enabled for models/{model.name}")


def _out_of_range(name: str, value: float, most: int) -> Refusal:
    return _invalid(
        f"Unable to submit request because it has a {name} value of {value:g} but the supported range is from 1 (inclusive) "
        f"to {most + 1} (exclusive). Update the value and try again."
    )


def _wrong(name: str, words: str) -> Refusal:
    return _invalid(f"* GenerateContentRequest.generation_config.{name}: {words}")


def _invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)
