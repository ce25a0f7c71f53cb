"""Which of the options of a request a model can honour. What it cannot is a 400 for the caller, never dropped in silence.

The knowledge follows from the fields of the catalogue's rows; what is no field is a fact about an API, stated here. All of
it was read in 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from shared.catalogue.models import Model
from shared.chat import Message, Sampling, Tools

OPENAI, DEEPSEEK, GEMINI = "openai-chat", "deepseek-chat", "gemini"


def unavailable(model: Model, sampling: Sampling, tools: Tools, messages: Sequence[Message]) -> str | None:
    """The name of the first option that `model` cannot honour as it is given, None when it can honour all.

    One of `tools` (also for calls and results in `messages`), `tool_choice`, `json_answer`, `json_schema`, `seed`,
    `frequency_penalty`, `presence_penalty`, `reasoning_effort`, `temperature`, `top_p`, `stop`. What asks for nothing is
    never refused: what is absent or empty, a penalty of 0, a choice `auto` or `none`, `user`. Nor is a wish for one call at
    a time, which `workers/request/vendor_calls.py` fulfils where a vendor has no word for it.
    """
    asked = _Asked(model, sampling, tools, messages)
    return next((name for name, is_refused in _REFUSED.items() if is_refused(asked)), None)


class _Asked(msgspec.Struct, frozen=True):
    model: Model
    sampling: Sampling
    tools: Tools
    messages: Sequence[Message]

    @property
    def api(self) -> str:
        return self.model.api


def _tools(asked: _Asked) -> bool:
    in_use = asked.tools.offered or any(message.role == "tool" or message.tool_calls for message in asked.messages)
    return bool(in_use) and not asked.model.tools


def _tool_choice(asked: _Asked) -> bool:
    mode = asked.tools.choice.mode if asked.tools.choice else "auto"
    return mode in {"required", "named"} and (not asked.model.tools or mode in asked.model.tools_lack)


def _json_answer(asked: _Asked) -> bool:
    """Gemini takes no functions beside it: "Function calling with a response mime type: 'application/json' is unsupported"
    (github.com/symfony/ai/issues/803).
    """
    if asked.sampling.json_answer is None:
        return False
    return not asked.model.json_mode or (asked.api == GEMINI and bool(asked.tools.offered))


def _json_schema(asked: _Asked) -> bool:
    """DeepSeek knows `json_object` only (api-docs.deepseek.com/guides/json_mode)."""
    answer = asked.sampling.json_answer
    return answer is not None and answer.schema is not None and asked.api == DEEPSEEK


def _seed(asked: _Asked) -> bool:
    """Not in the references of DeepSeek, Converse, Jurassic-2, Command and Realtime."""
    return asked.sampling.seed is not None and asked.api not in {OPENAI, GEMINI}


def _penalty(name: str) -> Callable[[_Asked], bool]:
    def is_refused(asked: _Asked) -> bool:
        """Converse has none. Models without sampling refuse them too, or ignore them (DeepSeek's reasoner)."""
        known = asked.api in {OPENAI, DEEPSEEK, GEMINI} and asked.model.sampling
        return bool(getattr(asked.sampling, name)) and not known

    return is_refused


def _reasoning_effort(asked: _Asked) -> bool:
    """It came to OpenAI's reasoning models together with the role `developer`, with o1 of 2024-12-17: o1-mini has neither."""
    known = asked.api == OPENAI and asked.model.reasoning and asked.model.system_prompt == "developer"
    return asked.sampling.reasoning_effort is not None and not known


_REFUSED: dict[str, Callable[[_Asked], bool]] = {
    "tools": _tools,
    "tool_choice": _tool_choice,
    "json_answer": _json_answer,
    "json_schema": _json_schema,
    "seed": _seed,
    "frequency_penalty": _penalty("frequency_penalty"),
    "presence_penalty": _penalty("presence_penalty"),
    "reasoning_effort": _reasoning_effort,
    "temperature": lambda asked: asked.sampling.temperature is not None and not asked.model.sampling,
    "top_p": lambda asked: asked.sampling.top_p is not None and not asked.model.sampling,
    "stop": lambda asked: bool(asked.sampling.stop) and not asked.model.stop,
}
