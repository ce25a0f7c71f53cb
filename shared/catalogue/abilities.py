"""Which of the options of a request a model can honour. What it cannot is a 400 for the caller, or, where the caller's API
takes it for a wish, left out and named; never dropped in silence.

The knowledge follows from the fields of the catalogue's rows; what is no field is a fact about an API, stated here. All of
it was read in 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, get_args

import msgspec

from shared.catalogue.models import Model
from shared.catalogue.thinking import shows_thoughts, thinks
from shared.catalogue.tool_limits import tool_limits
from shared.catalogue.vendor_limits import vendor_limits
from shared.chat import NO_TOOLS, Caching, JsonAnswer, Message, ReasoningEffort, Sampling, Tools

OPENAI, DEEPSEEK, CONVERSE, GEMINI = "openai-chat", "deepseek-chat", "bedrock-converse", "gemini"
RESPONSES = "openai-responses"
OPENAIS = frozenset({OPENAI, RESPONSES})
EFFORTS: tuple[ReasoningEffort, ...] = get_args(ReasoningEffort)
SWITCHED_ON: ReasoningEffort = "medium"
"""What is meant by thinking that is switched on without an effort."""
DEFAULT_TEMPERATURE = DEFAULT_TOP_P = 1
"""Of models that take no other value, or only one of the two: asking for it changes nothing."""


def nearest(
    model: Model, sampling: Sampling, wishes: Collection[str], tools: Tools = NO_TOOLS
) -> tuple[Sampling, list[str]]:
    """What of `sampling` is sent to `model`, and the `wishes` that it lacks. A wish is an option that may be left out, one of
    `reasoning_effort`, `thinking`, `shown_thoughts`, `top_k`, `seed`, `frequency_penalty`, `presence_penalty`, `user`,
    `strict_tools`, `cache`, `cache_elsewhere`, `cache_time`, `cache_key`, `cache_mode`, `cache_retention`; an effort or a
    `top_k` becomes the nearest that the model has. A sampling option that asks for what happens anyway is left out, too.
    """
    asked = _Asked(model, sampling, tools, ())
    is_wish = "reasoning_effort" in wishes
    if "thinking" in wishes and sampling.reasoning_effort is None and not thinks(model, None):
        asked, is_wish = _Asked(model, msgspec.structs.replace(sampling, reasoning_effort=SWITCHED_ON), tools, ()), True
    lacking = [wish for wish in wishes if _LACKS[wish](asked)]
    effort = _effort_sent(asked) if is_wish else sampling.reasoning_effort
    temperature, top_p = sampling.temperature, sampling.top_p
    unsampled, both = not _is_sampled(model, effort), vendor_limits(model).top_p_beside_temperature
    if top_p == DEFAULT_TOP_P and (unsampled or not (both or temperature is None)):
        top_p = None
    if temperature == DEFAULT_TEMPERATURE and (unsampled or not (both or top_p is None)):
        temperature = None
    return msgspec.structs.replace(
        sampling,
        temperature=temperature,
        top_p=top_p,
        top_k=None if "top_k" in lacking else _top_k(model, sampling),
        seed=None if "seed" in lacking else sampling.seed,
        frequency_penalty=None if "frequency_penalty" in lacking else sampling.frequency_penalty,
        presence_penalty=None if "presence_penalty" in lacking else sampling.presence_penalty,
        user=sampling.user if model.api in OPENAIS else None,
        reasoning_effort=effort,
        caching=_caching(sampling.caching, lacking),
        thinking_budget=sampling.thinking_budget if effort not in {None, "none"} else None,
    ), lacking


def _caching(wanted: Caching, lacking: Collection[str]) -> Caching:
    return msgspec.structs.replace(
        wanted,
        key=None if "cache_key" in lacking else wanted.key,
        explicit=wanted.explicit and "cache_mode" not in lacking,
        retention=None if "cache_retention" in lacking else wanted.retention,
    )


def _effort_sent(asked: _Asked) -> ReasoningEffort | None:
    """The nearest that the model has, of two as near the one nearer to `high`, as Anthropic and DeepSeek have it; none where
    it would take tools, or a temperature that is asked for, away. Who asks for thinking gets some where the model has any.
    """
    wanted = asked.sampling.reasoning_effort
    if wanted is None:
        return None
    efforts = asked.model.reasoning_efforts
    some = efforts if wanted == "none" else [effort for effort in efforts if effort != "none"]
    nearest_one = min(some, key=lambda effort: (_distance(effort, wanted), _distance(effort, "high")), default=None)
    return None if _takes_away(asked, nearest_one) else nearest_one


def _distance(effort: ReasoningEffort, other: ReasoningEffort) -> int:
    return abs(EFFORTS.index(effort) - EFFORTS.index(other))


def _takes_away(asked: _Asked, effort: ReasoningEffort | None) -> bool:
    sampling, model = asked.sampling, asked.model
    sampled = sampling.temperature not in {None, DEFAULT_TEMPERATURE} or sampling.top_p not in {None, DEFAULT_TOP_P}
    takes_sampling = sampled and _is_sampled(model, None) and not _is_sampled(model, effort)
    return takes_sampling or _takes_tools_away(asked, effort)


def _is_sampled(model: Model, effort: ReasoningEffort | None) -> bool:
    """Whether a temperature and a top_p are taken, and have an effect, beside this effort."""
    return model.sampling and not (vendor_limits(model).thinks_unsampled and thinks(model, effort))


def _top_k(model: Model, sampling: Sampling) -> int | None:
    most = vendor_limits(model).top_k_max
    return min(sampling.top_k, most) if sampling.top_k is not None and most is not None else sampling.top_k


def _lacks_effort(asked: _Asked) -> bool:
    """Not to think is what a model without reasoning does anyway; one that cannot stop thinks as little as it can."""
    wanted = asked.sampling.reasoning_effort
    if not asked.model.reasoning_efforts:
        return wanted not in {None, "none"} or asked.model.reasoning
    sent = _effort_sent(asked)
    return (wanted is not None and sent is None) or (wanted == "none" and thinks(asked.model, sent))


def _takes_tools_away(asked: _Asked, effort: ReasoningEffort | None) -> bool:
    """As OpenAI says: "To use function tools, use /v1/responses or set reasoning_effort to 'none'"
    (github.com/danny-avila/LibreChat/issues/14231, read 2026-11). Others only cannot be made to call one while they think.
    """
    if not thinks(asked.model, effort):
        return False
    takes_all = bool(asked.tools.offered) and "reasoning" in asked.model.tools_lack
    return takes_all or (_must_call(asked) and vendor_limits(asked.model).thinks_unforced)


def _must_call(asked: _Asked) -> bool:
    """Whether the model has to call a tool, be it that of its answer."""
    answer = asked.sampling.json_answer
    by_tool = answer is not None and json_form(asked.model, asked.tools, answer) == "tool"
    return by_tool or asked.tools.must_be_called()


def _lacks_seed(asked: _Asked) -> bool:
    """Gemini's is a smaller number. Not in the references of Responses, DeepSeek, Converse, Jurassic-2, Command, Realtime."""
    return asked.api not in {OPENAI, GEMINI} or abs(asked.sampling.seed or 0) > vendor_limits(asked.model).seed_max


def _lacks_penalty(name: str) -> Callable[[_Asked], bool]:
    """Responses and Converse have none. Models without sampling refuse them too, or ignore them (DeepSeek's reasoner)."""

    def lacks(asked: _Asked) -> bool:
        known = asked.api in {OPENAI, DEEPSEEK, GEMINI} and asked.model.sampling
        return bool(getattr(asked.sampling, name)) and not (known and vendor_limits(asked.model).penalties)

    return lacks


def _lacks_top_k(asked: _Asked) -> bool:
    """Claude takes it beside Converse's own parameters (docs.aws.amazon.com/bedrock/latest/userguide, Anthropic Claude
    Messages API), Gemini as a field of its own; OpenAI, DeepSeek and the others have none.
    """
    known = asked.api == GEMINI or (asked.api == CONVERSE and asked.model.company == "Anthropic")
    effort = _effort_sent(asked) if asked.model.reasoning_efforts else None
    return not (known and _is_sampled(asked.model, effort))


_LACKS: dict[str, Callable[[_Asked], bool]] = {
    "reasoning_effort": _lacks_effort,
    "thinking": lambda asked: not thinks(asked.model, _effort_sent(asked)),
    "shown_thoughts": lambda asked: thinks(asked.model, _effort_sent(asked)) and not shows_thoughts(asked.model),
    "top_k": _lacks_top_k,
    "seed": _lacks_seed,
    "frequency_penalty": _lacks_penalty("frequency_penalty"),
    "presence_penalty": _lacks_penalty("presence_penalty"),
    "user": lambda asked: asked.api not in OPENAIS,
    "strict_tools": lambda asked: asked.api not in OPENAIS,
    "cache": lambda asked: asked.model.cache_minimum is None,
    "cache_elsewhere": lambda asked: asked.model.cache_minimum is None or bool(asked.model.cache_marks),
    "cache_time": lambda _: False,
    "cache_key": lambda asked: asked.api not in OPENAIS or asked.model.base_url is not None,
    "cache_mode": lambda asked: asked.api not in OPENAIS or not asked.model.cache_marks,
    "cache_retention": lambda asked: (
        asked.sampling.caching.retention not in vendor_limits(asked.model).cache_retentions
    ),
}
"""`cache` is a mark where a model may take it, `cache_time` that it is for an hour (`caching.py`), `cache_elsewhere` a mark
where no model takes one. A vendor that caches by itself needs none.
"""


def unavailable(model: Model, sampling: Sampling, tools: Tools, messages: Sequence[Message]) -> str | None:
    """The name of the first option that `model` cannot honour as it is given, None when it can honour all.

    One of `tools` (also for calls and results in `messages`), `tool_choice`, `json_answer`, `json_schema`, `seed`,
    `frequency_penalty`, `presence_penalty`, `reasoning_effort`, `temperature`, `top_p`, `top_k`, `stop`. What asks for
    nothing is never refused: what is absent or empty, a penalty of 0, a choice `auto` or `none`, `user`. Nor is a wish for
    one call at a time, which `workers/request/vendor_calls.py` fulfils where a vendor has no word for it.
    """
    asked = _Asked(model, sampling, tools, messages)
    return next((name for name, is_refused in _REFUSED.items() if is_refused(asked)), None)


def json_form(model: Model, tools: Tools, answer: JsonAnswer) -> Literal["mode", "tool"] | None:
    """How the model is held to such an answer beside these tools: by its API's own mode, by a tool that it must call
    (`workers/providers/wire/answer_tool.py`), or not at all.

    DeepSeek's mode knows no schemas (api-docs.deepseek.com/guides/json_mode), and Gemini's goes with no tools: "Function
    calling with a response mime type: 'application/json' is unsupported" (github.com/symfony/ai/issues/803). Who must call a
    tool of the caller's gives no answer now.
    """
    knows_schemas, goes_with_tools = model.api != DEEPSEEK, model.api != GEMINI
    if model.json_mode and (knows_schemas or answer.schema is None) and (goes_with_tools or not tools.offered):
        return "mode"
    lacks = set(model.tools_lack)
    if tools.must_be_called():
        can = model.tools
    elif tools.may_be_called():
        can = model.tools and "required" not in lacks
    else:
        can = model.can_be_made_to_call
    return "tool" if can else None


def tools_max(model: Model, sampling: Sampling, tools: Tools) -> int | None:
    """How many tools of the caller's the model takes; None where no bound is known. A tool for the answer is one of them."""
    most = tool_limits(model).tools_max
    answer = sampling.json_answer
    if most is None or answer is None or tools.must_be_called() or json_form(model, tools, answer) != "tool":
        return most
    return most - 1


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
    """Not even without a schema."""
    answer = asked.sampling.json_answer
    return answer is not None and json_form(asked.model, asked.tools, JsonAnswer()) is None


def _json_schema(asked: _Asked) -> bool:
    answer = asked.sampling.json_answer
    return answer is not None and json_form(asked.model, asked.tools, answer) is None


def _sampled(name: str) -> Callable[[_Asked], bool]:
    """An option of sampling that is refused where it is given and lacking."""
    lacks = _LACKS[name]
    return lambda asked: getattr(asked.sampling, name) is not None and lacks(asked)


def _reasoning_effort(asked: _Asked) -> bool:
    effort = asked.sampling.reasoning_effort
    return effort is not None and (effort not in asked.model.reasoning_efforts or _takes_tools_away(asked, effort))


def _refuses_sampling(name: str) -> Callable[[_Asked], bool]:
    def refuses(asked: _Asked) -> bool:
        given = getattr(asked.sampling, name) is not None
        return given and not _is_sampled(asked.model, asked.sampling.reasoning_effort)

    return refuses


_REFUSED: dict[str, Callable[[_Asked], bool]] = {
    "tools": _tools,
    "tool_choice": _tool_choice,
    "json_answer": _json_answer,
    "json_schema": _json_schema,
    "seed": _sampled("seed"),
    "frequency_penalty": _sampled("frequency_penalty"),
    "presence_penalty": _sampled("presence_penalty"),
    "reasoning_effort": _reasoning_effort,
    "temperature": _refuses_sampling("temperature"),
    "top_p": _refuses_sampling("top_p"),
    "top_k": _sampled("top_k"),
    "stop": lambda asked: bool(asked.sampling.stop) and (not asked.model.stop or asked.api == RESPONSES),
}
