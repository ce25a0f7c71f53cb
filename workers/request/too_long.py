"""Adds numbers to the error of a prompt that is too long: the catalogue's window, and the vendor's count or an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.errors import ContextLengthExceeded, RebootError
from shared.input_tokens import estimated_input
from shared.overflow import Overflow

if TYPE_CHECKING:
    from shared.job import Job


def with_numbers(error: RebootError, job: Job) -> RebootError:
    """The same error; for a prompt that is too long, with the number of its tokens and the number that fit, because
    clients shorten their prompts by these. The limit is the catalogue's window, or the vendor's own if its count would
    fit into that window.
    """
    if not isinstance(error, ContextLengthExceeded):
        return error
    told = Overflow.told_by(error.body())
    window = job.model.context_window
    if told is None:
        return Overflow(tokens=_estimate(job, window), tokens_max=window, estimated=True).error()
    return msgspec.structs.replace(told, tokens_max=window).error() if told.tokens > window else error


def _estimate(job: Job, window: int) -> int:
    """An estimate above the window: the vendor has counted more than fits and does not say how many."""
    tokens = estimated_input(job.chat, job.model.image_tokens)
    return tokens if tokens > window else max(tokens + job.output_limit, window + 1)
