"""The limits of each vendor for options, turns, images and schemas: ranges, counts and forms. One table of facts, with
sources.

The front door refuses values beyond them (`faults.py`) before anything is held. Tools have a table of their own
(`tool_limits.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.catalogue.models import Model
from shared.chat import CacheRetention
from shared.images import KINDS

ALTERNATIVES = frozenset({"oneOf", "anyOf", "allOf"})


class VendorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one vendor; a limit that is not given is no narrower than this service's own.

    `least_top_p_is_0`: `top_p` may be 0; otherwise it must be greater. `top_p_beside_temperature`, `penalties`,
    `blank_stops`, `blank_turns`: whether the vendor takes these. `roots_refused`: keywords that are refused at the root
    of a tool's schema. `image_detail`: the detail that is asked for with each image, so that the row's `image_tokens`
    is an upper bound. `images_max`: the most images in one request. `cache_retentions`: allowed values of
    `prompt_cache_retention`. `thinks_unsampled`: the model takes no temperature and no top_p while it thinks;
    `thinks_unforced`: it cannot be forced to call a tool while it thinks. `thinking_tokens_min`: the smallest thinking
    budget that is sent to a model that counts its thinking tokens.
    """

    temperature_max: float = 2
    least_top_p_is_0: bool = True
    top_p_beside_temperature: bool = True
    penalties: bool = True
    output_tokens_min: int = 1
    top_k_max: int | None = None
    seed_max: int = 2**63 - 1
    stops_max: int | None = None
    blank_stops: bool = True
    blank_turns: bool = True
    image_kinds: tuple[str, ...] = KINDS
    image_bytes_max: int | None = None
    image_detail: Literal["high"] | None = None
    images_max: int | None = None
    cache_retentions: frozenset[CacheRetention] = frozenset()
    roots_refused: frozenset[str] = frozenset()
    thinks_unsampled: bool = False
    thinks_unforced: bool = False
    thinking_tokens_min: int | None = None


_UNKNOWN = VendorLimits()
_OPENAI = VendorLimits(stops_max=4, roots_refused=ALTERNATIVES | {"enum", "not"}, thinks_unsampled=True)
""""Invalid 'stop': array too long. Expected an array with maximum length 4" (github.com/continuedev/continue/issues/2461).
"schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level"
(community.openai.com, many clients' issues). "Unsupported parameter: 'temperature' is not supported with this model"
(litellm-1.110). Read 2026-11.
"""
_OPENAI_RETAINING = msgspec.structs.replace(_OPENAI, cache_retentions=frozenset({"in_memory", "24h"}))
"""Extended retention is for GPT-4.1 and for GPT-5 to 5.4 (developers.openai.com/api/docs/guides/prompt-caching, read
2026-11).
"""
_OPENAI_FROM_5 = msgspec.structs.replace(_OPENAI, penalties=False, image_detail="high")
"""From GPT-5 on there are no penalties (litellm-1.110, its OpenAI transformation). An image in detail `auto` may be 30,000
patches from 5.6 on, in `high` 2,500 (developers.openai.com/api/docs/guides/images-vision). Read 2026-11.
"""
_OPENAI_FROM_5_RETAINING = msgspec.structs.replace(_OPENAI_FROM_5, cache_retentions=frozenset({"in_memory", "24h"}))
_OPENAI_FROM_5_5 = msgspec.structs.replace(_OPENAI_FROM_5, cache_retentions=frozenset({"24h"}))
""""For gpt-5.5, gpt-5.5-pro, and future models, only 24h is supported" (openai-python 3.54, `prompt_cache_retention`, read
2026-11). It is not taken beside `prompt_cache_options`, which came with 5.6.
"""
_RESPONSES = msgspec.structs.replace(_OPENAI, output_tokens_min=16, penalties=False)
""""Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16"
(github.com/earendil-works/pi/issues/6265, read 2026-11).
"""
_RESPONSES_FROM_5 = msgspec.structs.replace(_RESPONSES, image_detail="high")
_RESPONSES_FROM_5_5 = msgspec.structs.replace(_RESPONSES_FROM_5, cache_retentions=_OPENAI_FROM_5_5.cache_retentions)
_RESPONSES_RETAINING = msgspec.structs.replace(_RESPONSES_FROM_5, cache_retentions=_OPENAI_RETAINING.cache_retentions)
_DEEPSEEK = VendorLimits(least_top_p_is_0=False, stops_max=16, thinks_unsampled=True, thinks_unforced=True)
""""Invalid top_p value, the valid range of top_p is (0, 1.0]"; 16 stop sequences
(api-docs.deepseek.com/api/create-chat-completion). While it thinks, sampling is taken and ignored
(api-docs.deepseek.com/guides/thinking_mode), and "Thinking mode does not support this tool_choice"
(github.com/deepseek-ai/DeepSeek-V3/issues/1376). Read 2026-11.
"""
_GEMINI = VendorLimits(
    penalties=False,
    seed_max=2**31 - 1,
    stops_max=5,
    blank_turns=False,
    image_kinds=("png", "jpeg", "webp"),
    images_max=3_600,
)
""""the number of stop_sequences must not exceed 5" (github.com/cheshire-cat-ai/core/issues/822). `seed` is an int32
(ai.google.dev/api/generate-content). No gif, and 3,600 images in a request
(ai.google.dev/gemini-api/docs/image-understanding). An empty part: "required oneof field 'data' must have one
initialized field". "Penalty is not enabled for models/gemini-2.5-flash"; later models are assumed to refuse penalties,
too. Read 2026-11.
"""
_GEMINI_TO_2_0 = msgspec.structs.replace(_GEMINI, top_k_max=40, penalties=True)
""""a topK value of 50 but the supported range is from 1 (inclusive) to 41 (exclusive)"
(github.com/genkit-ai/genkit/issues/1397, github.com/Robitx/gp.nvim/issues/241, read 2026-11).
"""
_CONVERSE = VendorLimits(temperature_max=1, blank_turns=False, image_bytes_max=3_932_160)
"""botocore 1.40's model of `InferenceConfiguration`; "Member must have value less than or equal to 1"
(github.com/stdapi-ai/stdapi.ai/issues/224). It takes 2,500 stop sequences. 3.75 MB for an image
(docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html). Read 2026-11.
"""
_CONVERSE_CLAUDE = msgspec.structs.replace(
    _CONVERSE, top_k_max=500, blank_stops=False, roots_refused=ALTERNATIVES, images_max=600
)
""""each stop sequence must contain non-whitespace" (github.com/BerriAI/litellm/issues/3286); `top_k` to 500
(docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html); "input_schema does not support
oneOf, allOf, or anyOf at the top level". 600 images in a request, 100 with a window of 200,000 tokens
(platform.claude.com/docs/en/build-with-claude/vision). Read 2026-11.
"""
_CONVERSE_CLAUDE_TO_3 = msgspec.structs.replace(_CONVERSE_CLAUDE, images_max=100)
_CONVERSE_CLAUDE_4_6 = msgspec.structs.replace(
    _CONVERSE_CLAUDE, top_p_beside_temperature=False, thinks_unsampled=True, thinks_unforced=True
)
_CONVERSE_CLAUDE_4_5 = msgspec.structs.replace(_CONVERSE_CLAUDE_4_6, images_max=100, thinking_tokens_min=1_024)
""""`temperature` and `top_p` cannot both be specified for this model" (github.com/mem0ai/mem0/pull/4147). While it
thinks, it takes neither of them, no `top_k`, and no tool that must be called
(docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html). Read 2026-11.
"""
_CONVERSE_FROM_16 = msgspec.structs.replace(_CONVERSE, output_tokens_min=16)
"""GPT, Grok and Kimi K3 refuse a smaller `maxTokens` (litellm-1.110, its Converse transformation, read 2026-11)."""
_CONVERSE_MISTRAL = msgspec.structs.replace(_CONVERSE, stops_max=10)
"""docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html (read 2026-11)."""
_JURASSIC = VendorLimits(temperature_max=1, stops_max=1, blank_turns=False)
""""expected maximum item count: 1, found: 2" (github.com/langchain-ai/langchain/issues/10456, read 2026-11)."""
_COMMAND = VendorLimits(stops_max=4, blank_turns=False)
"""docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command.html: up to four, temperature to 5 (read
2026-11).
"""

_LIMITS = (
    ("bedrock-converse", "-4-5-", _CONVERSE_CLAUDE_4_5),
    ("bedrock-converse", "-4-6", _CONVERSE_CLAUDE_4_6),
    ("bedrock-converse", "claude-3", _CONVERSE_CLAUDE_TO_3),
    ("bedrock-converse", "anthropic.", _CONVERSE_CLAUDE),
    ("bedrock-converse", "mistral.", _CONVERSE_MISTRAL),
    ("bedrock-converse", "openai.gpt-oss", _CONVERSE),
    ("bedrock-converse", "openai.gpt-", _CONVERSE_FROM_16),
    ("bedrock-converse", "moonshotai.kimi-k3", _CONVERSE_FROM_16),
    ("bedrock-converse", "xai.grok-", _CONVERSE_FROM_16),
    ("bedrock-converse", "", _CONVERSE),
    ("bedrock-invoke", "ai21.j2", _JURASSIC),
    ("bedrock-invoke", "", _COMMAND),
    ("gemini", "gemini-1.5", _GEMINI_TO_2_0),
    ("gemini", "gemini-2.0", _GEMINI_TO_2_0),
    ("gemini", "", _GEMINI),
    ("deepseek-chat", "", _DEEPSEEK),
    ("openai-chat", "gpt-4.1", _OPENAI_RETAINING),
    ("openai-chat", "gpt-5.5", _OPENAI_FROM_5_5),
    ("openai-chat", "gpt-5.6", _OPENAI_FROM_5),
    ("openai-chat", "gpt-5", _OPENAI_FROM_5_RETAINING),
    ("openai-chat", "gpt-6", _OPENAI_FROM_5),
    ("openai-chat", "", _OPENAI),
    ("openai-responses", "gpt-5.5", _RESPONSES_FROM_5_5),
    ("openai-responses", "gpt-5.6", _RESPONSES_FROM_5),
    ("openai-responses", "gpt-5", _RESPONSES_RETAINING),
    ("openai-responses", "gpt-6", _RESPONSES_FROM_5),
    ("openai-responses", "", _RESPONSES),
    ("", "", _UNKNOWN),
)
"""API, a part of the vendor's id of the model, and the limits. The first row that matches counts."""


def vendor_limits(model: Model) -> VendorLimits:
    """The limits of the model's vendor. Nothing is known of a vendor at an operator's own address."""
    if model.base_url:
        return _UNKNOWN
    return next(limits for api, part, limits in _LIMITS if model.api.startswith(api) and part in model.vendor_model)
