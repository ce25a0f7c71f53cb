"""The upper bound of a batch line's cost, checked when the line is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.catalogue.caching import with_marks_taken, writes_of
from shared.catalogue.models import Model, output_limit
from shared.chat import Chat
from shared.errors import InvalidRequest
from shared.input_tokens import input_bound
from shared.money import NanoUsd, nano_to_usd

if TYPE_CHECKING:
    from shared.batches.batches import Ask
    from shared.settings import Settings


def cost_bound(ask: Ask, model: Model, settings: Settings) -> NanoUsd:
    """The nano-USD that would be held for the line with `model`: the upper bound at the model's price, times the factor
    for batches.
    """
    limit, _ = output_limit(model, ask.max_tokens, settings)
    bound = input_bound(ask.chat, model.image_tokens)
    marked = with_marks_taken(model, ask.messages, ask.tools)
    writes = writes_of(model, Chat(marked.messages, ask.sampling, marked.tools))
    return model.price.times(settings.batch_price_factor).hold(bound, limit, writes)


def require_at_most(most: NanoUsd, cost: NanoUsd) -> None:
    """Raise `InvalidRequest` if the line may cost more than `most`."""
    if cost > most:
        raise InvalidRequest(
            f"The line may cost up to {nano_to_usd(cost)} USD, and {nano_to_usd(most)} USD are the most that one line may:"
            " lower max_tokens or shorten the messages."
        )
