"""Gemini's models: their limits, and their ways of thinking.

Sources, read 2026-11: the model pages of the Gemini API and its guide to thinking.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

NO_FLEX = ("gemini-1", "gemini-2.0", "gemini-4-neon", "gemini-4-carbon")
BEFORE_3 = ("gemini-1", "gemini-2")
FROM_MINIMAL = ("minimal", "low", "medium", "high")
FROM_LOW = FROM_MINIMAL[1:]


class Model(msgspec.Struct, frozen=True):
    """One model and its limits in tokens. `thinks`: it thinks unless it is told not to, which is impossible from Gemini 3
    on. `levels`: the thinking levels that it knows; `budget`: whether it takes a number of tokens. `unstreamed_max`: its
    output limit without a stream, if that differs.
    """

    name: str
    context: int
    output_max: int
    thinks: bool = False
    levels: tuple[str, ...] = ()
    budget: bool = False
    unstreamed_max: int | None = None

    @property
    def is_new(self) -> bool:
        """True if the model is Gemini 3 or later: calls have ids and signatures, and a JSON answer may be given beside
        tools.
        """
        return not self.name.startswith(BEFORE_3)

    @property
    def flex(self) -> bool:
        """True if Google serves the model at the tier flex (ai.google.dev/gemini-api/docs/flex-inference)."""
        return not self.name.startswith(NO_FLEX)


def _old(name: str, context: int = 1_048_576) -> Model:
    return Model(name, context, 8_192)


def _2_5(name: str, *, thinks: bool = True) -> Model:
    return Model(name, 1_048_576, 65_536, thinks=thinks, budget=True)


def _new(name: str, *levels: str, budget: bool = True, unstreamed_max: int | None = None) -> Model:
    return Model(name, 1_048_576, 65_536, thinks=True, levels=levels, budget=budget, unstreamed_max=unstreamed_max)


_ALL = (
    _old("gemini-2.0-flash"),
    _old("gemini-2.0-flash-lite"),
    _old("gemini-1.5-flash"),
    _old("gemini-1.5-flash-8b"),
    _old("gemini-1.5-pro", 2_097_152),
    _2_5("gemini-2.5-flash"),
    _2_5("gemini-2.5-flash-lite", thinks=False),
    _2_5("gemini-2.5-pro"),
    _new("gemini-3.1-pro-preview", *FROM_LOW),
    _new("gemini-3.1-flash-lite", *FROM_MINIMAL),
    _new("gemini-3.5-flash-lite", *FROM_MINIMAL),
    _new("gemini-3.8-flash", *FROM_LOW),
    _new("gemini-4-hydrogen", *FROM_LOW, "xhigh", budget=False),
    _new("gemini-4-argon", *FROM_LOW, budget=False, unstreamed_max=32_768),
    _new("gemini-4-carbon", *FROM_LOW, budget=False),
    _new("gemini-4-neon", *FROM_LOW, "xhigh", budget=False),
)
MODELS: Mapping[str, Model] = {model.name: model for model in _ALL}
