"""The limits of each vendor for tools: names, ids of calls, number of tools, images in results. One table of facts,
with sources.

The front door refuses too many tools (`abilities.py`); workers adapt names and ids
(`workers/providers/wire/fitting.py`).
"""

from __future__ import annotations

import re

import msgspec

from shared.catalogue.models import Model


class ToolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one vendor. `names` and `ids` are patterns that a whole name or id must match; `ids` is None if the
    vendor takes every id that callers may send. `id_length` is the length of the id that replaces one which does not
    match. `tools_max` is None if no limit is known. With `ids_in_history`, calls and results are sent with ids although
    the API could do without.
    """

    names: re.Pattern[str]
    ids: re.Pattern[str] | None = None
    id_length: int = 16
    tools_max: int | None = None
    images_in_results: bool = False
    ids_in_history: bool = False


PLAIN_NAMES = re.compile(r"[a-zA-Z0-9_-]{1,64}")
BEDROCK_IDS = PLAIN_NAMES

_OPENAI = ToolLimits(names=PLAIN_NAMES, ids=re.compile(r".{1,40}"), tools_max=128)
"""Names: platform.openai.com/docs/api-reference/chat/create. "Invalid 'messages[2].tool_calls[0].id': string too long.
Expected a string with maximum length 40" (github.com/vercel/ai/issues/8132), "Invalid 'tools': array too long. Expected an
array with maximum length 128" (github.com/zed-industries/zed/issues/32946). Images: "only allowed for messages with role
'user'" (github.com/OpenHands/OpenHands/issues/7700). Read 2026-11.
"""
_RESPONSES = ToolLimits(names=PLAIN_NAMES, ids=re.compile(r".{1,64}"), tools_max=128, images_in_results=True)
""""Invalid 'input[4].call_id': string too long. Expected a string with maximum length 64"
(github.com/openai/codex/issues/14355). A result may be a list of texts and images (openai-python 3.54). Read 2026-11.
"""
_DEEPSEEK = ToolLimits(names=PLAIN_NAMES, ids=re.compile(r".{1,256}"), tools_max=128)
"""api-docs.deepseek.com/api/create-chat-completion; "string does not match pattern … '^[a-zA-Z0-9_-]+$'"
(github.com/zed-industries/zed/issues/57531). No limit for the length of ids is known; ids of more than 256 characters,
which no vendor makes, are replaced. Read 2026-11.
"""
_GEMINI = ToolLimits(names=re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}"), tools_max=512)
"""Names: "Must start with a letter or an underscore … dots (.), colons (:), or dashes (-), with a maximum length of 64"
(github.com/google-gemini/gemini-cli/issues/9535); newer references say 128 (google-genai 3.4). "At most 512 function
declarations can be specified" (…/issues/19083). Ids are not sent. Images within a `functionResponse` came with Gemini 3
(ai.google.dev/gemini-api/docs/function-calling). Read 2026-11.
"""
_GEMINI_FROM_3 = msgspec.structs.replace(_GEMINI, ids_in_history=True)
"""From Gemini 3 on calls have ids, and a result says that of its call (ai.google.dev/gemini-api/docs/function-calling, read
2026-11).
"""
_CONVERSE = ToolLimits(names=PLAIN_NAMES, ids=BEDROCK_IDS)
"""botocore 1.40's model of `ToolName` and `ToolUseId`. It has no limit for the number of tools, and none of Claude's is
known.
"""
_CONVERSE_SEEING = ToolLimits(names=PLAIN_NAMES, ids=BEDROCK_IDS, images_in_results=True)
"""Nova, and Claude from 3 on, take `ToolResultContentBlock.image`; others answer 400
(docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolResultContentBlock.html, tried in
github.com/anomalyco/opencode/issues/49443; read 2026-11).
"""
_CONVERSE_MISTRAL = ToolLimits(names=PLAIN_NAMES, ids=re.compile(r"[a-zA-Z0-9]{9}"), id_length=9)
"""Mistral's own rule holds on Bedrock too, even for ids that Bedrock has made: "must be a-z, A-Z, 0-9, with a length of
9" (github.com/vercel/ai/issues/11802, read 2026-11).
"""

_LIMITS = (
    ("bedrock-converse", "mistral.", _CONVERSE_MISTRAL),
    ("bedrock-converse", "anthropic.", _CONVERSE_SEEING),
    ("bedrock-converse", "amazon.nova", _CONVERSE_SEEING),
    ("bedrock-converse", "", _CONVERSE),
    ("gemini", "gemini-1", _GEMINI),
    ("gemini", "gemini-2", _GEMINI),
    ("gemini", "", _GEMINI_FROM_3),
    ("deepseek-chat", "", _DEEPSEEK),
    ("openai-responses", "", _RESPONSES),
    ("", "", _OPENAI),
)
"""API, a part of the vendor's id of the model, and the limits. The first row that matches counts."""


def tool_limits(model: Model) -> ToolLimits:
    """The limits of the model's vendor. For APIs without tools they do not matter."""
    return next(limits for api, part, limits in _LIMITS if model.api.startswith(api) and part in model.vendor_model)
