"""OpenAI's chat models: their limits, their refusals, and their ways of thinking.

Sources: OpenAI's model pages (2025-2026), the public matrix of o-series parameters, and for GPT-5.4 and later its guide
to their use of tools (2026-09).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

O_SERIES = ("low", "medium", "high")
TO_XHIGH = ("low", "medium", "high", "xhigh")
DATE = len("-2024-08-06")


class Model(msgspec.Struct, frozen=True):
    """One model: its dated name, its limits in tokens, the parameters and parts that it refuses, and the efforts that
    it knows; the first effort is its default. `modern`: GPT-5 or later. `tools_think`: it calls tools beside reasoning.
    `breakpoints`: its cache keeps what is marked, and bills it.
    """

    name: str
    context: int
    output_max: int
    reasons: bool = False
    system: bool = True
    images: bool = True
    stop: bool = True
    efforts: tuple[str, ...] = ()
    modern: bool = False
    tools_think: bool = True
    patches_max: int | None = None
    breakpoints: bool = False

    @property
    def retains_always(self) -> bool:
        """True if everything in the model's cache is kept for a day, as from GPT-5.5 on."""
        return self.breakpoints or self.name.startswith("gpt-5.5")

    @property
    def flex(self) -> bool:
        """True if the model is served at the tier flex, according to that tier's price table."""
        return (self.modern and not self.name.startswith("gpt-6.2")) or self.name.startswith("o4-mini")

    @property
    def alias(self) -> str:
        """The model's name without the date."""
        return self.name[:-DATE] if self.name[-2:].isdigit() and self.name[-DATE:][:3] == "-20" else self.name

    def effort(self, asked: str | None) -> str | None:
        """The effort with which the model thinks; None if it cannot think."""
        return asked or (self.efforts[0] if self.efforts else None)


def _gpt(
    name: str,
    *efforts: str,
    context: int = 1_050_000,
    patches_max: int | None = None,
    tools_think: bool = False,
    breakpoints: bool = False,
) -> Model:
    return Model(
        name,
        context,
        128_000,
        reasons=True,
        stop=False,
        efforts=efforts,
        modern=True,
        tools_think=tools_think,
        patches_max=patches_max,
        breakpoints=breakpoints,
    )


_ALL = (
    Model("gpt-4o-2024-08-06", 128_000, 16_384),
    Model("gpt-4o-mini-2024-07-18", 128_000, 16_384),
    Model("o1-2024-12-17", 200_000, 100_000, reasons=True, efforts=("medium", *O_SERIES)),
    Model("o3-mini-2025-01-31", 200_000, 100_000, reasons=True, images=False, efforts=("medium", *O_SERIES)),
    Model("o1-mini-2024-09-12", 128_000, 65_536, reasons=True, system=False, images=False),
    Model("gpt-4.1-2025-04-14", 1_047_576, 32_768),
    Model("gpt-4.1-mini-2025-04-14", 1_047_576, 32_768),
    Model("o4-mini-2025-04-16", 200_000, 100_000, reasons=True, stop=False, efforts=("medium", *O_SERIES)),
    _gpt("gpt-5.2-2025-12-11", "none", *TO_XHIGH, context=400_000, tools_think=True),
    _gpt("gpt-5.4-2026-03-05", "none", *TO_XHIGH),
    _gpt("gpt-5.4-mini-2026-03-17", "none", *TO_XHIGH, context=400_000),
    _gpt("gpt-5.5-2026-04-23", "medium", "none", *TO_XHIGH),
    *(
        _gpt(name, "medium", "none", *TO_XHIGH, patches_max=30_000, breakpoints=True)
        for name in ("gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna")
    ),
    *(
        _gpt(name, "medium", "none", *TO_XHIGH, patches_max=30_000, breakpoints=True)
        for name in ("gpt-6-luna", "gpt-6.1-terra")
    ),
    *(
        _gpt(name, "medium", *TO_XHIGH, patches_max=30_000, breakpoints=True)
        for name in ("gpt-6-astra", "gpt-6.1-sol", "gpt-6.2-astra", "gpt-6.2-sol")
    ),
)
MODELS: Mapping[str, Model] = {name: model for model in _ALL for name in (model.name, model.alias)}
"""Every model under its dated name and its alias."""
NO_CHAT_TOOLS = frozenset({"gpt-6.1-terra"})
"""Models whose pages say that tools need the Responses API, although they can be told not to think."""
