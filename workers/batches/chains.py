"""The chain of a batch line when it is fed: its models, each with the request in the form for that model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.batches.batches import Ask
from shared.catalogue.models import Model
from shared.errors import ProviderNotConfigured
from shared.job import Fallback
from shared.ledger.chains import PinnedModel, Tried


class Candidate(NamedTuple):
    """A model, and the request in the form for it."""

    model: Model
    ask: Ask


def asks_of(line: Ask) -> Iterator[Ask]:
    """The line's request in the form for each of its models, in order."""
    yield line
    for other in line.others:
        sampling = msgspec.structs.replace(other.sampling, json_answer=line.sampling.json_answer)
        yield msgspec.structs.replace(line, model=other.model, sampling=sampling)


def fallback_fields(line: Ask, others: Sequence[Candidate], chain: Sequence[PinnedModel]) -> dict[str, Any]:
    """The fields of a job that has fallback models, with the prices and limits of its admission."""
    promised = {one.model: one for one in chain}
    fallbacks = (
        Fallback(
            model=model,
            price=promised[model.name].price,
            sampling=msgspec.structs.replace(ask.sampling, json_answer=None),
            output_limit=promised[model.name].output_limit,
        )
        for model, ask in others
        if model.name in promised
    )
    passed = chain[: len(line.passed)]
    tried = (Tried(model=one.model, code=ProviderNotConfigured.code, calls=0) for one in passed if not one.output_limit)
    return {"fallbacks": tuple(fallbacks), "tried": tuple(tried)}
