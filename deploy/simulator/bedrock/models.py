"""Amazon Bedrock's models: their limits, and what Converse takes of each.

Sources: AWS's Converse "supported models and features" table, its model parameter pages and model cards (2024-2026),
and for newer facts langchain-aws 1.9 and litellm-1.110.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class Model(msgspec.Struct, frozen=True):
    """One model id and its limits in tokens.

    `chat`: Converse takes more than one message. `choices`: the tool choices that the model knows. `thinks`: it thinks
    unless it is told not to. `fields`: fields of its own; `off`: values in them that switch thinking off; `efforts`:
    efforts that it knows there. Claude is told to think adaptively, or by a number of tokens (`counts`); newer Claude
    models hide their thoughts unless asked (`hides`), and the newest take a thought back only after the same
    conversation (`binds`). `profiled`: it can be called by an inference profile only. `cache_minimum`: the fewest
    tokens of a prompt's beginning that its cache keeps, 0 without a cache; `cache_points`: it caches only at points.
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
    stops: bool = True
    sampling: Literal["both", "either", "neither"] = "both"
    output_min: int = 1
    thinks: bool = False
    fields: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    counts: bool = False
    hides: bool = False
    binds: bool = False
    profiled: bool = False
    cache_minimum: int = 0
    cache_points: bool = False

    @property
    def caches_unasked(self) -> bool:
        """True if the model caches prompts by itself and takes no points, as GPT does."""
        return self.cache_minimum > 0 and not self.cache_points

    @property
    def images_in_results(self) -> bool:
        """True if tool results may have images: with Claude and Nova they may, if the model takes images."""
        return self.images and self.id.startswith(("anthropic.", "amazon.nova"))


def _claude(name: str, context: int, output_max: int, *, images: bool = False) -> Model:
    """A model of Claude; tools came with Claude 3."""
    tools = not name.startswith(("v2", "instant"))
    id = f"anthropic.claude-{name}"  # noqa: A001
    return Model(id, context, output_max, images=images, prefill=True, tools=tools, fields=("top_k",))


def _nova(name: str, context: int, *, images: bool = False) -> Model:
    return Model(
        f"amazon.nova-{name}-v1:0",
        context,
        10_000,
        images=images,
        tools=True,
        cache_minimum=1_000,
        cache_points=True,
    )


def _llama(name: str, context: int, output_max: int, *, images: bool = False, tools: bool = False) -> Model:
    name = f"meta.llama{name}-instruct-v1:0"
    return Model(name, context, output_max, images=images, tools=tools, tools_stream=False, choices=("auto",))


def _other(name: str, context: int, output_max: int) -> Model:
    """A model with tools but without tool choice."""
    return Model(name, context, output_max, tools=True, choices=())


def _mistral(name: str, *choices: str) -> Model:
    return Model(f"mistral.{name}", 32_000, 4_096, tools=True, tools_stream=False, choices=choices)


def _claude_now(
    name: str,
    *off: str,
    thinks: bool = True,
    forced: bool = True,
    output_max: int = 128_000,
    cache_minimum: int = 512,
) -> Model:
    """A model of Claude from Opus 4.7 on: no sampling, no prefill; newer ones cannot be forced to call a tool."""
    return Model(
        f"anthropic.claude-{name}",
        1_000_000,
        output_max,
        images=True,
        tools=True,
        choices=("auto", "any", "tool") if forced else ("auto",),
        sampling="neither",
        thinks=thinks,
        fields=("thinking", "output_config"),
        off=off,
        efforts=("low", "medium", "high", "xhigh", "max"),
        hides=True,
        binds=name.endswith("5-5") or name.startswith("fable"),
        profiled=True,
        cache_minimum=cache_minimum,
        cache_points=True,
    )


def _claude_4_6(name: str, output_max: int, cache_minimum: int) -> Model:
    """A model of Claude 4.6: a temperature or a top_p, and no prefill."""
    return Model(
        f"anthropic.claude-{name}",
        1_000_000,
        output_max,
        images=True,
        tools=True,
        sampling="either",
        fields=("top_k", "thinking", "output_config"),
        off=("disabled",),
        efforts=("low", "medium", "high", "max"),
        counts=True,
        profiled=True,
        cache_minimum=cache_minimum,
        cache_points=True,
    )


def _claude_4_5(name: str, cache_minimum: int) -> Model:
    known = _claude(name, 200_000, 64_000, images=True)
    return msgspec.structs.replace(
        known,
        sampling="either",
        fields=("top_k", "thinking"),
        off=("disabled",),
        counts=True,
        profiled=True,
        cache_minimum=cache_minimum,
        cache_points=True,
    )


def _gpt(name: str, *efforts: str) -> Model:
    return Model(
        f"openai.{name}",
        1_050_000,
        128_000,
        images=True,
        tools=True,
        stops=False,
        sampling="neither",
        output_min=16,
        thinks=True,
        fields=("reasoning", "text"),
        profiled=True,
        cache_minimum=1_024,
        efforts=(*efforts, "low", "medium", "high", "xhigh", "max"),
    )


def _open(id: str, context: int, output_max: int, *choices: str, images: bool = False, thinks: bool = False) -> Model:  # noqa: A002
    """A model with open weights, which streams with tools."""
    profiled = id.startswith(("moonshotai.", "zai.", "xai."))
    return Model(id, context, output_max, images=images, tools=True, choices=choices, thinks=thinks, profiled=profiled)


def _mistral_3(name: str, context: int, output_max: int, *choices: str, thinks: bool = False) -> Model:
    id = f"mistral.{name}"  # noqa: A001
    known = _open(id, context, output_max, *choices, images=True, thinks=thinks)
    return msgspec.structs.replace(known, tools_stream=False)


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
    _claude_4_5("haiku-4-5-20251001-v1:0", 4_096),
    _claude_4_5("sonnet-4-5-20250929-v1:0", 1_024),
    _claude_4_6("opus-4-6-v1", 128_000, 4_096),
    _claude_4_6("sonnet-4-6", 64_000, 1_024),
    _claude_now("opus-4-8", "disabled", thinks=False, cache_minimum=1_024),
    _claude_now("opus-5", "disabled"),
    _claude_now("opus-5-5", forced=False),
    _claude_now("sonnet-5", "disabled", cache_minimum=1_024),
    _claude_now("sonnet-5-5", "between_tools", forced=False),
    _claude_now("haiku-5-5", "disabled"),
    _claude_now("fable-5-2", forced=False),
    msgspec.structs.replace(
        _nova("2-lite", 1_000_000, images=True),
        output_max=64_000,
        fields=("reasoningConfig",),
        efforts=("low", "medium", "high"),
        profiled=True,
    ),
    _gpt("gpt-6-astra"),
    _gpt("gpt-6.1-sol"),
    _gpt("gpt-6.1-terra", "none"),
    _gpt("gpt-6-luna", "none"),
    *(
        Model(
            f"openai.gpt-oss-{size}-1:0",
            128_000,
            16_384,
            tools=True,
            choices=(),
            stops=False,
            thinks=True,
            fields=("reasoning_effort",),
            efforts=("low", "medium", "high"),
        )
        for size in ("120b", "20b")
    ),
    _open("deepseek.v3.2", 156_000, 8_000, "auto", "any", thinks=True),
    _open("qwen.qwen3-235b-a22b-2507-v1:0", 262_144, 8_192),
    _open("qwen.qwen3-32b-v1:0", 32_768, 8_192, thinks=True),
    _open("qwen.qwen3-next-80b-a3b", 256_000, 8_000),
    _open("qwen.qwen3-vl-235b-a22b", 256_000, 8_000, images=True),
    _open("qwen.qwen3-coder-next", 256_000, 16_000),
    msgspec.structs.replace(
        _open("moonshotai.kimi-k3.1", 868_928, 131_072, "auto", "any", "tool", images=True, thinks=True),
        output_min=16,
        fields=("reasoning_effort",),
        efforts=("none", "low", "medium", "high", "xhigh", "max"),
    ),
    _open("zai.glm-5.3", 1_000_000, 128_000, "auto", "any", "tool", thinks=True),
    _open("minimax.minimax-m2.5", 196_000, 8_000, thinks=True),
    msgspec.structs.replace(
        _open("xai.grok-4.7", 500_000, 128_000, "auto", "any", "tool", images=True, thinks=True),
        output_min=16,
        stops=False,
    ),
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
    _llama("4-maverick-17b", 1_000_000, 8_192, images=True, tools=True),
    _llama("4-scout-17b", 3_500_000, 8_192, images=True, tools=True),
    _llama("3-8b", 8_192, 2_048),
    _llama("3-70b", 8_192, 2_048),
    Model("mistral.mistral-7b-instruct-v0:2", 32_000, 4_096, system=False),
    Model("mistral.mixtral-8x7b-instruct-v0:1", 32_000, 4_096, system=False),
    _mistral("mistral-small-2402-v1:0"),
    _mistral("mistral-large-2402-v1:0", "auto", "any"),
    _mistral_3("mistral-large-3-675b-instruct", 256_000, 8_192, "auto", "any"),
    _mistral_3("ministral-3-14b-instruct", 128_000, 4_096),
    _mistral_3("ministral-3-8b-instruct", 128_000, 4_096),
    _mistral_3("ministral-3-3b-instruct", 128_000, 8_000),
    _mistral_3("magistral-small-2509", 128_000, 40_000, thinks=True),
)
MODELS: Mapping[str, Model] = {model.id: model for model in _ALL}
