"""Wishes: options of OpenAI's and Anthropic's APIs that may be left out, in the project's own form; and the header that
names what was left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar, cast, get_args
from urllib.parse import quote

import msgspec
from multidict import MultiDict, MultiMapping

from api.formats.asked import Asked
from api.formats.cache_marks import CACHE_CONTROL, MarkField
from api.formats.parsing import parse_query
from shared.chat import ReasoningEffort
from shared.errors import InvalidRequest

T = TypeVar("T", bound=msgspec.Struct)
LENGTH_MAX = 1_024
"""Most bytes of the header `x-ignored`."""
MORE = "..."
AS_IT_IS = "[]._-?$*"
"""Characters of a name that are not escaped."""
EFFORTS = frozenset(get_args(ReasoningEffort))
ANY_EFFORT = {"", "auto", "default"}
LOW_BUDGET, MEDIUM_BUDGET = 4_096, 16_384
"""The largest thinking budgets, in tokens, that count as a low and as a medium effort."""
OFF, OMITTED = "disabled", "omitted"
THINKING_TYPES = ("enabled", "adaptive", OFF)
BUDGET_MIN = 1_024
"""The smallest thinking budget, in tokens. Anthropic says "thinking.enabled.budget_tokens: Input should be greater than or
equal to 1024", and that `max_tokens` must be greater (github.com/themaximalist/llm.js/issues/30, read 2026-11).
"""
KNOWN_QUERY = {"beta"}
"""Anthropic's parameter for unreleased features; clients that send it call the same API."""
ORDERS = {
    *("n", "max_output_tokens", "max_new_tokens"),
    *("stop", "stop_sequences", "stop_token_ids"),
    *("response_format", "output_config.format", "output_format", "text.format", "format", "json_schema"),
    *("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar"),
    *("functions", "function_call", "logit_bias"),
}
"""Unknown fields that are refused: in some API they define how many answers there are, their form, or their end."""


class Thinking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The thinking of the model before it answers, in Anthropic's form. It is left out for a model that cannot
    think.
    """

    type: str | None = None
    """`enabled`, `adaptive` or `disabled`. Without a type, `budget_tokens` means `enabled`."""
    budget_tokens: int | None = None
    """The most thinking tokens, 1,024 or more and less than the output limit. For a model that counts no thinking
    tokens it becomes the nearest effort.
    """
    display: str | None = None
    """`summarized` (the default) shows the thoughts; `omitted` shows no text of them."""

    @property
    def is_asked_for(self) -> bool:
        """True if thinking is asked for, so that the caller gets its thoughts."""
        return self.type not in {None, OFF} or (self.type is None and bool(self.budget_tokens))

    @property
    def is_shown(self) -> bool:
        """True if the caller gets the text of the thoughts."""
        return self.is_asked_for and self.display != OMITTED


class Wishes(msgspec.Struct, frozen=True):
    """The wishes of one body. `fields` has the body's fields of each wish; `ignored` are fields that are left out for
    every model.
    """

    fields: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...]
    effort: ReasoningEffort | None = None
    thinking_budget: int | None = None


def wishes_of(
    unknown: Iterable[str],
    *,
    effort: str | None = None,
    effort_field: str = "reasoning_effort",
    thinking: Thinking | None = None,
    thinking_field: str = "thinking",
    budget_field: str = "thinking.budget_tokens",
    marks: Iterable[MarkField] = (),
    others: Mapping[str, str | None] = {},
) -> Wishes:
    """Collect the wishes of a body. `unknown` are its unknown fields without the numbers of entries, `marks` the fields
    with cache marks, `others` further options with the field that each was given in, None if it was not. Raises
    `InvalidRequest` for an unknown field that is no wish.
    """
    names = list(dict.fromkeys(unknown))
    _refuse_orders(names)
    if thinking and thinking.display not in {None, OMITTED, "summarized"}:
        names.append(f"{thinking_field}.display")
    misplaced = tuple(name for name in names if name.rpartition(".")[2] == CACHE_CONTROL)
    fields: dict[str, tuple[str, ...]] = {option: (field,) for option, field in others.items() if field}
    cached, unknown_marks = _by_wish(marks)
    fields |= cached
    if misplaced:
        fields["cache_elsewhere"] = misplaced
    ignored = [*(name for name in names if name not in misplaced), *unknown_marks]
    known = _known_effort(effort)
    is_off = thinking is not None and thinking.type == OFF
    budget = (thinking.budget_tokens or 0) if thinking and not is_off else 0
    if thinking and thinking.budget_tokens and is_off:
        ignored.append(budget_field)
    if effort not in {None, known, *ANY_EFFORT}:
        ignored.append(effort_field)
    if known is not None:
        fields["reasoning_effort"] = (effort_field,)
    elif is_off:
        known, fields["reasoning_effort"] = "none", (thinking_field,)
    elif budget > 0:
        known, fields["reasoning_effort"] = _effort_of(budget), ()
    if is_off and known != "none":
        ignored.append(thinking_field)  # another effort is asked for as well
    elif thinking and thinking.is_asked_for:
        fields["thinking"] = (thinking_field,)
    return Wishes(fields, tuple(ignored), known, budget if budget > 0 and known != "none" else None)


def check_thinking(thinking: Thinking | None, max_tokens: int | None) -> None:
    """Raise `InvalidRequest` for values of `thinking` that Anthropic refuses."""
    if thinking is None:
        return
    if thinking.type is not None and thinking.type not in THINKING_TYPES:
        raise InvalidRequest(f"`thinking.type` is {thinking.type[:100]!r}: it is one of {', '.join(THINKING_TYPES)}.")
    if thinking.budget_tokens is None or thinking.type == OFF:
        return
    if thinking.budget_tokens < BUDGET_MIN:
        raise InvalidRequest(f"`thinking.budget_tokens` is {thinking.budget_tokens}: it is {BUDGET_MIN} at least.")
    check_budget("thinking.budget_tokens", thinking.budget_tokens, max_tokens)


def check_budget(field: str, tokens: int | None, max_tokens: int | None) -> None:
    """Raise `InvalidRequest` if the thinking budget is not less than the output limit, of which it is a part."""
    if tokens is not None and max_tokens is not None and tokens >= max_tokens:
        raise InvalidRequest(
            f"`{field}` is {tokens}, which leaves no room for an answer: it is less than the output limit of {max_tokens}."
        )


def _by_wish(marks: Iterable[MarkField]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The fields of marks by wish, and the fields with marks that no vendor knows; each once."""
    by_wish: dict[str | None, list[str]] = {}
    for mark in dict.fromkeys(marks):
        by_wish.setdefault(mark.wish, []).append(mark.name)
    unknown = by_wish.pop(None, [])
    return {wish: tuple(names) for wish, names in by_wish.items() if wish}, unknown


def _known_effort(word: str | None) -> ReasoningEffort | None:
    """The effort; None for an unknown word, because its strength is not known."""
    return cast("ReasoningEffort", word) if word in EFFORTS else None


def _refuse_orders(names: Sequence[str]) -> None:
    """Refuse unknown fields that are no wishes: without them the answer would be a different one."""
    for name in names:
        if name in ORDERS or name.rpartition(".")[0] in {"response_format", "tool_choice"}:
            raise InvalidRequest(
                f"`{name[:100]}` is not known here, and the answer would be another one without it: leave it out."
            )


def _effort_of(budget_tokens: int) -> ReasoningEffort:
    if budget_tokens <= LOW_BUDGET:
        return "low"
    return "medium" if budget_tokens <= MEDIUM_BUDGET else "high"


def without_query(asked: Asked, query: Mapping[str, str]) -> Asked:
    """The request with the query's unknown parameters added to `ignored`, if the API is tolerant."""
    if not asked.tolerant:
        return asked
    return asked.without(unknown_parameters(query))


def known_query(query: MultiMapping[str], kind: type[T]) -> tuple[T, list[str]]:
    """The parameters of a query as `kind`, and the names of unknown ones, which are left out."""
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    known = MultiDict((name, value) for name, value in query.items() if name in names)
    return parse_query(known, kind), unknown_parameters(query, names)


def unknown_parameters(query: Mapping[str, str], known: Collection[str] = ()) -> list[str]:
    """The names of parameters that are neither `known` nor empty, as `x-ignored` has them."""
    return [f"?{name}" for name, value in query.items() if value and name not in KNOWN_QUERY and name not in known]


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """The header `x-ignored` with each name once, escaped, joined by commas and cut off at a kilobyte; no header without
    names.
    """
    if not names:
        return {}
    told, size = [], 0
    for name in dict.fromkeys(names):
        said = quote(name[:LENGTH_MAX], safe=AS_IT_IS)
        size += len(said) + 2
        if size > LENGTH_MAX - len(MORE):
            told.append(MORE)
            break
        told.append(said)
    return {"x-ignored": ", ".join(told)}
