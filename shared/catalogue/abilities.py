"""The options of a request that a model can honour. An option that it cannot honour is refused with a 400, or, if the
caller's API treats the option as a wish, left out and named. No option is dropped silently.

Most of this follows from the fields of the catalogue's rows. The rest are facts about vendors' APIs, all of them read
in 2026-11.
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
"""The effort of a request that switches thinking on without naming an effort."""
DEFAULT_TEMPERATURE = DEFAULT_TOP_P = 1
"""The default of models that take no other value, or only one of the two options. A request for the default changes
nothing.
"""


def nearest(
    model: Model, sampling: Sampling, wishes: Collection[str], tools: Tools = NO_TOOLS
) -> tuple[Sampling, list[str]]:
    """The part of `sampling` that is sent to `model`, and the `wishes` that the model lacks.

    A wish is an option that may be left out: `reasoning_effort`, `thinking`, `shown_thoughts`, `top_k`, `seed`,
    `frequency_penalty`, `presence_penalty`, `user`, `strict_tools`, `cache`, `cache_elsewhere`, `cache_time`, `cache_key`,
    `cache_mode`, `cache_retention`. An effort or a `top_k` becomes the nearest one that the model has. A temperature or
    `top_p` that equals the default is left out where the model takes none.
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
    """The model's effort that is nearest to the one asked for; of two equally near ones the one nearer to `high`, as
    Anthropic and DeepSeek do it. None if that effort would make tools impossible, or a temperature that was asked for. A
    request for thinking gets some from every model that can think.
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
    """True if the model takes a temperature and a top_p beside this effort, and whether these have an effect."""
    return model.sampling and not (vendor_limits(model).thinks_unsampled and thinks(model, effort))


def _top_k(model: Model, sampling: Sampling) -> int | None:
    most = vendor_limits(model).top_k_max
    return min(sampling.top_k, most) if sampling.top_k is not None and most is not None else sampling.top_k


def _lacks_effort(asked: _Asked) -> bool:
    """True if the model lacks the effort. A model without reasoning never thinks, so it has the effort `none`. A model
    that cannot stop thinking gets its least effort for `none`, and the wish counts as lacking.
    """
    wanted = asked.sampling.reasoning_effort
    if not asked.model.reasoning_efforts:
        return wanted not in {None, "none"} or asked.model.reasoning
    sent = _effort_sent(asked)
    return (wanted is not None and sent is None) or (wanted == "none" and thinks(asked.model, sent))


def _takes_tools_away(asked: _Asked, effort: ReasoningEffort | None) -> bool:
    """True if thinking with this effort makes the requested tools impossible. OpenAI says: "To use function tools, use
    /v1/responses or set reasoning_effort to 'none'" (github.com/danny-avila/LibreChat/issues/14231, read 2026-11).
    Other models take tools, but cannot be forced to call one while they think.
    """
    if not thinks(asked.model, effort):
        return False
    takes_all = bool(asked.tools.offered) and "reasoning" in asked.model.tools_lack
    return takes_all or (_must_call(asked) and vendor_limits(asked.model).thinks_unforced)


def _must_call(asked: _Asked) -> bool:
    """True if the model has to call a tool, which may be the tool that carries a JSON answer."""
    answer = asked.sampling.json_answer
    by_tool = answer is not None and json_form(asked.model, asked.tools, answer) == "tool"
    return by_tool or asked.tools.must_be_called()


def _lacks_seed(asked: _Asked) -> bool:
    """True if the model lacks a seed. Gemini's is a 32-bit number. Responses, DeepSeek, Converse, Jurassic-2, Command
    and Realtime document none.
    """
    return asked.api not in {OPENAI, GEMINI} or abs(asked.sampling.seed or 0) > vendor_limits(asked.model).seed_max


def _lacks_penalty(name: str) -> Callable[[_Asked], bool]:
    """A check of whether the model lacks the penalty. Responses and Converse have none. Models without sampling refuse
    penalties, or ignore them (DeepSeek's reasoner).
    """

    def lacks(asked: _Asked) -> bool:
        known = asked.api in {OPENAI, DEEPSEEK, GEMINI} and asked.model.sampling
        return bool(getattr(asked.sampling, name)) and not (known and vendor_limits(asked.model).penalties)

    return lacks


def _lacks_top_k(asked: _Asked) -> bool:
    """True if the model lacks `top_k`. Claude takes it beside Converse's own parameters
    (docs.aws.amazon.com/bedrock/latest/userguide, Anthropic Claude Messages API), and Gemini as a field of its own.
    OpenAI, DeepSeek and the others do not have it.
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
"""A check for each wish of whether the model lacks it. `cache` is a cache mark at a place where some model may take it,
`cache_time` asks for an hour (`caching.py`), `cache_elsewhere` is a mark where no model takes one. A vendor that caches
by itself needs no marks, so its models lack none.
"""


def unavailable(model: Model, sampling: Sampling, tools: Tools, messages: Sequence[Message]) -> str | None:
    """The name of the first option that `model` cannot honour, or None.

    The name is one of `tools` (also for calls and results in `messages`), `tool_choice`, `json_answer`, `json_schema`,
    `seed`, `frequency_penalty`, `presence_penalty`, `reasoning_effort`, `temperature`, `top_p`, `top_k`, `stop`. Options
    that ask for nothing are never refused: absent or empty ones, a penalty of 0, a choice `auto` or `none`, `user`. A wish
    for one call at a time is not refused either: `workers/request/incoming.py` fulfils it for vendors without a
    parameter for it.
    """
    asked = _Asked(model, sampling, tools, messages)
    return next((name for name, is_refused in _REFUSED.items() if is_refused(asked)), None)


def json_form(model: Model, tools: Tools, answer: JsonAnswer) -> Literal["mode", "tool"] | None:
    """The way in which the model is held to a JSON answer beside these tools: `mode` for its API's JSON mode, `tool`
    for a tool that it must call (`workers/providers/wire/answer_tool.py`), or None if it cannot be held to one.

    DeepSeek's mode knows no schemas (api-docs.deepseek.com/guides/json_mode). Gemini's mode excludes tools: "Function
    calling with a response mime type: 'application/json' is unsupported" (github.com/symfony/ai/issues/803). A model
    that must call one of the caller's tools gives no JSON answer in this turn.
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
    """The most of the caller's tools that the model takes; None if no limit is known. A tool for the JSON answer
    counts, too.
    """
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
    """True if the model cannot be held to JSON even without a schema."""
    answer = asked.sampling.json_answer
    return answer is not None and json_form(asked.model, asked.tools, JsonAnswer()) is None


def _json_schema(asked: _Asked) -> bool:
    answer = asked.sampling.json_answer
    return answer is not None and json_form(asked.model, asked.tools, answer) is None


def _sampled(name: str) -> Callable[[_Asked], bool]:
    """A check that refuses the option if it is given and the model lacks it."""
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
