"""After which errors, and of which requests, the next model of a chain is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from shared import errors
from shared.chat import CacheMark, JsonAnswer, Message, Sampling
from shared.errors import OperatorCredentials, ProviderBusy, ProviderError, ProviderRejected, RebootError
from shared.job import Fallback, Job
from shared.ledger.chains import Tried
from tests.harness.builders import a_job, a_model, packed_job
from workers.providers.wire.callers_faults import ThoughtsRefused
from workers.providers.wire.vendor_errors import Redirected
from workers.request.billing import Received
from workers.request.fallbacks import GOES_ON, goes_on, may_go_on, told_with_chain, with_its_marks

FALLEN_BACK_FROM = {
    *("ModelRetired", "OperatorCredentials", "Overloaded", "ProviderBusy", "ProviderError", "ProviderNotConfigured"),
    "ProviderTimeout",
}


def _tree(root: type[RebootError]) -> Iterator[type[RebootError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


def a_chain(**changes: Any) -> Job:
    def fallback(name: str) -> Fallback:
        model = a_model(name=name)
        return Fallback(model=model, price=model.price, sampling=Sampling(top_p=0.5), output_limit=9)

    return a_job(fallbacks=(fallback("second"), fallback("third")), **changes)


def test_every_class_of_the_error_tree_is_decided() -> None:
    here = {kind for kind in _tree(RebootError) if kind.__module__ == errors.__name__}
    assert set(GOES_ON) == here
    assert {kind.__name__ for kind, goes in GOES_ON.items() if goes} == FALLEN_BACK_FROM


@pytest.mark.parametrize("kind", [kind for kind in _tree(RebootError) if kind not in GOES_ON])
def test_what_is_below_a_class_is_as_that_class(kind: type[RebootError]) -> None:
    nearest = next(one for one in kind.__mro__ if one in GOES_ON)
    assert goes_on(kind.__new__(kind)) == GOES_ON[nearest]


def test_what_is_known_only_where_it_is_raised_is_decided_too() -> None:
    assert goes_on(Redirected("elsewhere"))
    assert not goes_on(ThoughtsRefused("thoughts"))
    assert not goes_on(ProviderRejected("no"))
    assert goes_on(OperatorCredentials("no"))


def test_nothing_goes_on_without_a_chain_after_its_first_byte_or_after_its_deadline() -> None:
    busy, nothing = ProviderBusy("busy"), Received(calls=3)
    assert may_go_on(a_chain(), nothing, busy)
    assert not may_go_on(a_job(), nothing, busy)
    assert not may_go_on(a_chain(), Received(text_bytes=1), ProviderError("broke off"))
    assert not may_go_on(a_chain(deadline_ms=0), nothing, busy)


def test_a_job_goes_on_with_what_was_pinned_for_its_next_model() -> None:
    answer = JsonAnswer(schema={"type": "object"})
    job = a_chain(sampling=Sampling(temperature=1, json_answer=answer))
    tried = (
        Tried(model=job.model.name, code="provider_busy", calls=3),
        Tried(model="second", code="overloaded", calls=0),
    )
    moved = job.at_next(tried)
    third = job.fallbacks[1]
    assert (moved.model, moved.price, moved.output_limit) == (third.model, third.price, third.output_limit)
    assert moved.sampling == Sampling(top_p=0.5, json_answer=answer)
    assert (moved.fallbacks, moved.tried, moved.calls_before) == ((), tried, 3)
    assert (moved.id, moved.hold_nano, moved.messages) == (job.id, job.hold_nano, job.messages)
    assert packed_job(moved) == packed_job(job).at_next(tried)


def test_the_last_error_is_told_with_those_before_it() -> None:
    job = a_chain().at_next((Tried(model="first", code="provider_busy", calls=3),))
    assert told_with_chain(ProviderError("It broke."), job).message == (
        "second: It broke. Before it failed: first (provider_busy)."
    )
    assert told_with_chain(ProviderError("It broke."), a_job()).message == "It broke."


def test_each_model_of_a_chain_is_sent_the_marks_that_it_takes() -> None:
    marked = [Message("user", "Hello", cache_marks=(CacheMark(0),))]
    takes = a_model(cache_marks=("messages",))
    assert with_its_marks(a_chain(model=takes, messages=marked)).messages == marked
    assert with_its_marks(a_chain(messages=marked)).messages == [msgspec.structs.replace(marked[0], cache_marks=())]
    alone = a_job(messages=marked)
    assert with_its_marks(alone) is alone
