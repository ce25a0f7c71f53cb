"""Chooses the API by which a model serves a request. OpenAI's newer models take tools beside reasoning, and show their
thoughts, by the Responses API only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from shared.catalogue.abilities import nearest
from shared.catalogue.models import Model
from shared.catalogue.thinking import thinks
from shared.chat import Sampling, Tools


def by_its_api(model: Model, sampling: Sampling, tools: Tools, wishes: Collection[str] = ()) -> Model:
    """The model with the API that serves this request. The API decides what the model can honour and what its vendor takes,
    so it is chosen before those checks, and the job carries it. `api` is used wherever it can serve the request, because
    workers of an older release do not know the second API.
    """
    second = _by_second(model)
    if second is None:
        return model
    sent, _ = nearest(second, sampling, wishes, tools)
    thinking = thinks(model, sent.reasoning_effort)
    takes_tools = "reasoning" in model.tools_lack and not thinking
    has_all = (takes_tools or not tools.offered) and not (thinking and sent.hands_thoughts_on)
    return model if has_all else second


def by_each_api(models: Iterable[Model]) -> Iterator[Model]:
    """Every model with each API that may serve one of its requests."""
    for model in models:
        yield model
        if (second := _by_second(model)) is not None:
            yield second


def _by_second(model: Model) -> Model | None:
    """The model with its second API, which takes tools beside reasoning; None if it has none."""
    if model.second_api is None:
        return None
    lacks = tuple(lack for lack in model.tools_lack if lack != "reasoning")
    return msgspec.structs.replace(model, api=model.second_api, second_api=None, tools_lack=lacks)
