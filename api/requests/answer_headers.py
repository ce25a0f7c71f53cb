"""The headers of an answer that describe its request; some depend on the model that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from api.formats.wishes import ignored_header
from api.requests.fallbacks import Chain, ChainModel

if TYPE_CHECKING:
    from shared.job import JobHead


class AnswerHeaders(msgspec.Struct, frozen=True):
    """The headers of an answer. With a chain, some of them depend on the model that serves."""

    model: str
    """The name of the model that was asked for."""
    ignored: tuple[str, ...]
    chain: Chain | None
    limits: Mapping[str, int]
    has_chain: bool
    more: Mapping[str, str] = {}

    def of(self, first: str, served: str | None = None) -> dict[str, str]:
        """The headers once the serving model is known: the `first` one, or the one that `served` names."""
        model = served or first
        fitted = self.chain.find(model) if self.chain else None
        headers = self.of_model(model, fitted)
        return {**headers, "x-model-served": model} if self.has_chain else headers

    def first(self, model: str) -> dict[str, str]:
        """The headers of a stream before the serving model is known."""
        return {"Cache-Control": "no-store", **self.more} if self.has_chain else self.of_model(model)

    def of_model(self, model: str, fitted: ChainModel | None = None) -> dict[str, str]:
        """The headers of an answer by `model`, or of one whose model is asked first; `fitted` is its place in the chain."""
        ignored, name = (fitted.ignored, fitted.name) if fitted else (self.ignored, self.model)
        headers = {"x-output-limit": str(self.limits[model]), "Cache-Control": "no-store", **ignored_header(ignored)}
        if model != name and (fitted or not self.has_chain):
            headers["x-model-successor"] = model
        return {**headers, **self.more}


def limits_of(job: JobHead) -> dict[str, int]:
    """Output limits by model."""
    return {job.model.name: job.output_limit, **{one.model.name: one.output_limit for one in job.fallbacks}}
