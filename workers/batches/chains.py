"""The chains of batch lines when they are fed: the models of a line, each with the request in the form for that model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared.batches.batches import Ask
from shared.catalogue.abilities import unavailable
from shared.catalogue.apis import by_its_api
from shared.catalogue.caching import with_marks_taken, writes_of
from shared.catalogue.models import Catalogue, Model, output_limit, priced
from shared.errors import InvalidRequest, ModelNotFound, ProviderNotConfigured, RebootError
from shared.input_tokens import input_bound
from shared.job import Fallback
from shared.lanes import ServiceTier
from shared.ledger.chains import PinnedModel, Tried, not_asked, pinned_model

if TYPE_CHECKING:
    from shared.settings import Settings


class Candidate(NamedTuple):
    """A model, and the request in the form for it."""

    model: Model
    ask: Ask


class Chains:
    """Finds the models of lines as the catalogue has them when the lines are fed."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._settings = settings

    def of(self, line: Ask, tier: ServiceTier) -> tuple[Candidate, ...]:
        """The line's model and its fallback models, without those that can no longer run it. Raises `ModelNotFound` if the
        first one has left the catalogue, or `InvalidRequest` if it can no longer honour the line.
        """
        first, *others = _asks_of(line)
        chain = [self._candidate(first, tier)]
        for other in others:
            with suppress(RebootError):
                chain.append(self._candidate(other, tier))
        return tuple(chain)

    def _candidate(self, ask: Ask, tier: ServiceTier) -> Candidate:
        try:
            model = self._catalogue.serving(ask.model)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{error.message} This one is not offered any more: send the line with another."
            ) from error
        model = by_its_api(model, ask.sampling, ask.tools)
        option = unavailable(model, ask.sampling, ask.tools, ask.messages)
        if option is None and model.image_tokens is None and any(message.images() for message in ask.messages):
            option = "images"
        if option:
            raise InvalidRequest(
                f"{model.name} does not take `{option}` any more: send the line without, or to another model."
            )
        at_tier = self._catalogue.at_tier(model, tier)
        if at_tier is None:
            raise InvalidRequest(
                f"{model.name} has no price for {tier!r} any more: send the line without `service_tier`, or to another model."
            )
        marked = with_marks_taken(at_tier, ask.messages, ask.tools)
        model = priced(at_tier, self._settings.batch_price_factor)
        return Candidate(model, msgspec.structs.replace(ask, messages=marked.messages, tools=marked.tools))

    def pinned(self, one: Candidate) -> PinnedModel:
        """The model as the ledger records it, with its price and its limits at this moment."""
        ask, model = one.ask, one.model
        bound = input_bound(ask.chat, model.image_tokens)
        writes = writes_of(model, ask.chat)
        wanted, _ = output_limit(model, ask.max_tokens, self._settings)
        return pinned_model(model, bound, writes, wanted)

    def passed(self, line: Ask, tier: ServiceTier) -> Iterator[PinnedModel]:
        """The models that nobody could call when the line was sent."""
        for name in line.passed:
            with suppress(RebootError):
                yield not_asked(self.pinned(self._candidate(msgspec.structs.replace(line, model=name), tier)))


class Fallbacks(NamedTuple):
    """The fallback models of a job, and the models of its chain that are out from the beginning."""

    models: tuple[Fallback, ...]
    tried: tuple[Tried, ...]


def fallbacks_of(line: Ask, others: Sequence[Candidate], chain: Sequence[PinnedModel]) -> Fallbacks:
    """The fallbacks of a line's job, with the prices and limits of its admission, which `chain` has."""
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
    return Fallbacks(tuple(fallbacks), tuple(tried))


def _asks_of(line: Ask) -> Iterator[Ask]:
    """The line's request in the form for each of its models, in order."""
    yield line
    for other in line.others:
        sampling = msgspec.structs.replace(other.sampling, json_answer=line.sampling.json_answer)
        yield msgspec.structs.replace(line, model=other.model, sampling=sampling)
