"""The checker itself: it finds every kind of wrong that it is there to find, and nothing in what is right."""

from __future__ import annotations

import msgspec
import pytest

from deploy.simulator.calls import Call
from deploy.simulator.script import Script
from shared.job import Chunk, Done
from shared.money import Usage
from tests.faults.books import Row
from tests.faults.checker import Case, Promise, estimate, full_cost, violations
from tests.faults.clients import Asked, Question
from tests.faults.reading import read

QUESTION = Question(form="raw", script=Script(tokens=6, key="k"))
WHOLE = QUESTION.expected.encode()
HALF = WHOLE[:20]
BROKEN = HALF + b'\x1e{"error":{"code":"provider_error"}}\n'
LOST_WORKER = Promise(errors=frozenset({"provider_error"}), calls_max=2)


def asked(received: bytes, ending: str = "complete") -> Asked:
    fields = {"question": QUESTION, "url": "", "sent_at": 1.0, "ended_at": 3.0, "status": 200, "request_id": "req_1"}
    return Asked(**fields, pieces=[(2.0, received)], ending=ending)  # type: ignore[arg-type]


def call(**changed: object) -> Call:
    usual = Call(ordinal=1, api="openai-chat", started_at=1.5, ended_at=2.5, ending="completed", tokens_sent=6)
    return msgspec.structs.replace(usual, **changed)


def row(charged: int = full_cost(QUESTION), **changed: object) -> Row:
    usual = Row("req_1", "k", "succeeded", "settled", 10_000, charged, None, None, 1, 1, charged)
    return usual._replace(**changed)  # type: ignore[arg-type]


def case(one: Asked, calls: list[Call], rows: list[Row], **changed: object) -> Case:
    usual = Case(asked=one, reading=read(one), calls=calls, rows=rows)
    return msgspec.structs.replace(usual, **changed)


FAILED = row(estimate(QUESTION, len(HALF)), state="failed")
LEFT = row(0, state="cancelled", hold_state="released", captures=0)
RIGHT = {
    "answered whole": (case(asked(WHOLE), [call()], [row()]), Promise()),
    "broken off visibly": (case(asked(BROKEN, "broken"), [call()], [FAILED]), LOST_WORKER),
    "left after a refusal": (case(asked(b"", "left"), [call(status=429)], [LEFT]), Promise()),
}
WRONG = {
    "received something else": case(asked(WHOLE[1:]), [call()], [row()]),
    "as if they were all": case(asked(HALF), [call()], [row()]),
    "never ended": case(asked(WHOLE, "hung"), [call()], [row()]),
    "was broken without a word": case(asked(HALF, "broken"), [call()], [FAILED]),
    "was shown provider_error": case(asked(BROKEN, "broken"), [call()], [FAILED]),
    "ends tidily": case(asked(BROKEN), [call()], [FAILED]),
    "called the vendor 2 times": case(asked(WHOLE), [call(), call()], [row()]),
    "after the first byte was out": case(asked(WHOLE), [call(started_at=2.1)], [row()]),
    "without the vendor's help": case(asked(WHOLE), [], [row()]),
    "ran without being on record": case(asked(WHOLE), [call()], []),
    "is on record 2 times": case(asked(WHOLE), [call()], [row(), row()]),
    "is on record as req_2": case(asked(WHOLE), [call()], [row(id="req_2")]),
    "still has its hold": case(asked(WHOLE), [call()], [row(hold_state="held")]),
    "was captured 2 times": case(asked(WHOLE), [call()], [row(captures=2)]),
    "did not succeed": case(asked(WHOLE), [call()], [FAILED]),
    "not charged what the vendor reported": case(asked(WHOLE), [call()], [row(1)]),
    "something for nothing": case(asked(BROKEN, "broken"), [call()], [row(0, state="failed", captures=0)]),
    "had taken it and not charged": case(asked(b"", "left"), [call()], [LEFT]),
    "was charged neither": case(asked(BROKEN, "broken"), [call()], [row(1, state="failed")]),
    "a journal with something else": case(asked(WHOLE), [call()], [row()], journal=[Chunk("no")]),
    "a journal of 2 events that ends at [0]": case(
        asked(WHOLE), [call()], [row()], journal=[Done("stop", Usage(1, 1), 1), Chunk(QUESTION.expected)]
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found_in_a_request_that_was(name: str) -> None:
    assert not violations(*RIGHT[name])


@pytest.mark.parametrize("sentence", WRONG)
def test_the_checker_says(sentence: str) -> None:
    assert any(sentence in found for found in violations(WRONG[sentence], Promise()))
