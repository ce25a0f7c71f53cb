"""The chain of a request: the model that was asked, and the fallback models that its caller names. Each model is
checked and fitted as if it had been asked by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from api.requests.model_check import at_tier, fit_to_model
from shared.catalogue.caching import writes_of
from shared.catalogue.models import Catalogue, Model, output_limit
from shared.chat import Sampling
from shared.errors import (
    InvalidRequest,
    ModelNotFound,
    OperatorCredentials,
    Overloaded,
    ProviderBusy,
    ProviderNotConfigured,
    RebootError,
)
from shared.input_tokens import input_bound
from shared.job import Fallback
from shared.ledger.chains import PinnedModel, Tried, not_asked, pinned_model
from shared.money import Price, Writes

if TYPE_CHECKING:
    from api.formats.asked import Asked
    from api.requests.directory import Directory
    from shared.settings import Settings


PAUSED = "Its vendor is paused: try again later."


class ChainModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a chain: the name that was asked for, and the request in the form in which this model gets it.
    `input_bound` is the upper bound of the input tokens, `writes` the part of them that the vendor may write to its
    cache, `ignored` the fields that are left out for this model.
    """

    name: str
    model: Model
    sampling: Sampling
    input_bound: int
    writes: Writes
    ignored: tuple[str, ...]

    def pinned(self, max_tokens: int | None, settings: Settings) -> PinnedModel:
        """The model with its present price, for the request's row."""
        wanted, _ = output_limit(self.model, max_tokens, settings)
        return pinned_model(self.model, self.input_bound, self.writes, wanted)

    def fallback(self, price: Price, limit: int) -> Fallback:
        """The model in the form in which it travels with the job. The form of the answer is the job's."""
        sampling = msgspec.structs.replace(self.sampling, json_answer=None)
        return Fallback(model=self.model, price=price, sampling=sampling, output_limit=limit)


class Chain(msgspec.Struct, frozen=True):
    """All models of a request. The first `passed` of them are skipped, because nobody serves them now. `absent` has the error
    codes of all models that nobody serves now, by name.
    """

    models: tuple[ChainModel, ...]
    passed: tuple[Tried, ...] = ()
    absent: Mapping[str, str] = {}

    @property
    def next(self) -> ChainModel:
        """The model that is asked first."""
        return self.models[len(self.passed)]

    def pinned(self, max_tokens: int | None, settings: Settings) -> tuple[PinnedModel, ...]:
        """All models with their present prices, for the request's row; nothing is held for those that are skipped."""
        promised = [one.pinned(max_tokens, settings) for one in self.models]
        passed = len(self.passed)
        return (*map(not_asked, promised[:passed]), *promised[passed:])

    def fallbacks(self, promised: Sequence[PinnedModel], granted: int) -> tuple[Fallback, ...]:
        """The models after the first one that is asked, with the output limit that was granted. `promised` are their
        rows.
        """
        limits = {one.model: (one.price, min(one.output_limit, granted)) for one in promised}
        behind = self.models[len(self.passed) + 1 :]
        return tuple(one.fallback(*limits[one.model.name]) for one in behind if one.model.name in limits)

    def find(self, model: str) -> ChainModel | None:
        """The entry that is served by the model with this public name."""
        return next((one for one in self.models if one.model.name == model), None)


def chain_of(
    asked: Asked, catalogue: Catalogue, settings: Settings, route: str, *, strict: bool, nearest: bool = True
) -> Chain:
    """The chain of a request. With `nearest`, an error for an unknown name lists similar ones. Raises `ModelNotFound` for
    the first model, and `InvalidRequest`, which names the model and the fault.
    """
    field = asked.name_of("models")
    if len(asked.models) > settings.fallback_models_max:
        raise InvalidRequest(
            f"`{field}` has {len(asked.models)} entries: at most {settings.fallback_models_max} are taken.", param=field
        )
    places = [asked.name_of("model"), *(f"{field}[{place}]" for place in range(len(asked.models)))]
    fitted: dict[str, ChainModel] = {}
    for place, name in zip(places, (asked.model, *asked.models), strict=True):
        with _naming(place, name, is_first=not fitted):
            model = catalogue.serving(catalogue.find(name, route, nearest=nearest).name, route)
            one = _fitted(asked, model, name, catalogue, settings, strict=strict)
        if same := fitted.get(one.model.name):
            raise InvalidRequest(
                f"`{place}` ({name}): {one.model.name} is in the chain already, as {same.name}: name each model once.",
                param=field,
            )
        fitted[one.model.name] = one
    return Chain(tuple(fitted.values()))


def served_now(chain: Chain, directory: Directory, lane_of: Callable[[Model], str], *, waits: bool = False) -> Chain:
    """The chain without leading models that nobody serves now in their lanes, or whose provider is paused while another's
    is not. With `waits`, models that may be served later count as served. If nobody serves any, the error of the first is
    raised.
    """
    paused = [directory.is_paused(one.model, lane_of(one.model)) for one in chain.models]
    refusals: list[RebootError | None] = []
    for one, is_paused in zip(chain.models, paused, strict=True):
        try:
            directory.require(one.model, lane_of(one.model))
        except (ProviderNotConfigured, Overloaded, ProviderBusy, OperatorCredentials) as error:
            is_for_now = not isinstance(error, ProviderNotConfigured)
            refusals.append(None if waits and is_for_now else error)
        else:
            refusals.append(Overloaded(PAUSED) if is_paused and not waits and not all(paused) else None)
    if None not in refusals:
        raise refusals[0] or AssertionError("a chain has models")
    absent = {one.model.name: error.code for one, error in zip(chain.models, refusals, strict=True) if error}
    passed = chain.models[: refusals.index(None)]
    return Chain(
        chain.models, tuple(Tried(model=one.model.name, code=absent[one.model.name], calls=0) for one in passed), absent
    )


def _fitted(
    asked: Asked, model: Model, name: str, catalogue: Catalogue, settings: Settings, *, strict: bool
) -> ChainModel:
    fitted, model = fit_to_model(asked, model, settings, strict=strict)
    model = at_tier(asked, model, catalogue)
    return ChainModel(
        name=name,
        model=model,
        sampling=fitted.sampling,
        input_bound=input_bound(fitted.chat, model.image_tokens),
        writes=writes_of(model, fitted.chat),
        ignored=fitted.ignored,
    )


@contextmanager
def _naming(place: str, name: str, *, is_first: bool) -> Iterator[None]:
    """Add the place of a model to the errors raised for it."""
    try:
        yield
    except ModelNotFound as error:
        if is_first:
            raise
        raise InvalidRequest(f"`{place}`: {error.message}", param=place) from None
    except InvalidRequest as error:
        named = type(error)(f"`{place}` ({name[:100]}): {error.message}")
        named.details = error.details
        raise named from None
