"""Holds what callers saw, what the vendor was asked and what the books say against each other, request by request.

Everything is compared with what the simulator would answer and with the documented price, both worked out here anew. A
violation is a sentence that begins with the request's key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from deploy.simulator.calls import Call
from shared.job import Chunk, Event
from tests.faults.books import Row
from tests.faults.clients import INPUT_PRICE, OUTPUT_PRICE, Asked, Question
from tests.faults.reading import Reading, read

REFUSED_FROM = 400
"""HTTP statuses from here on are refusals."""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof allows beyond the ordinary, which is that every request is answered whole by one vendor call."""

    errors: frozenset[str] = frozenset()
    """Codes that callers may be shown, before or after the first byte."""
    may_lose_connection: bool = False
    """Transfers may break off without a word: a front door was killed or left nothing standing."""
    may_charge_unseen: bool = False
    """A request may have succeeded and been charged although its caller was told otherwise."""
    may_be_free: bool = False
    """What was received may have been given away: the record of it was destroyed."""
    calls_max: int = 1
    may_forget: bool = False
    """The journal may be shorter than what was received, and only what is left of it charged: Redis lost its last writes."""
    two_may_end: bool = False
    """For a moment two Redis answer, each to some processes: a request may end at both, and the books have the end that was
    settled first.
    """
    holds_may_lapse: bool = False
    """An answer may be free because nobody is left who knows of it: its hold ends by its time, which is an alert."""
    alerts: tuple[str, ...] = ()
    """Events that may be logged as alerts."""
    zombies_may_call: bool = False
    """A worker that wakes up after its lease may call the vendor before it finds out, which nobody can fence."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of one request. `journal` is None when it is gone."""

    asked: Asked
    reading: Reading
    calls: Sequence[Call]
    rows: Sequence[Row]
    journal: Sequence[Event] | None = None

    @property
    def question(self) -> Question:
        return self.asked.question

    @property
    def row(self) -> Row | None:
        return self.rows[0] if self.rows else None


def violations(case: Case, promise: Promise) -> list[str]:
    """What is wrong with one request."""
    rules = (_answer, _end, _calls, _books, _charge, _journal)
    return [f"{case.question.key}: {found}{_facts(case)}" for rule in rules for found in rule(case, promise)]


def join(
    asked: Sequence[Asked], calls: Sequence[Call], rows: Sequence[Row], journals: dict[str, list[Event]]
) -> list[Case]:
    """Bring together what belongs to the same key."""
    calls_of: dict[str, list[Call]] = {}
    for call in calls:
        calls_of.setdefault(call.key, []).append(call)
    rows_of: dict[str, list[Row]] = {}
    for row in rows:
        rows_of.setdefault(row.key, []).append(row)
    return [
        Case(
            asked=one,
            reading=read(one),
            calls=calls_of.get(one.question.key, []),
            rows=(own := rows_of.get(one.question.key, [])),
            journal=journals.get(own[0].id) if own else None,
        )
        for one in asked
    ]


def cost(input_tokens: int, output_tokens: int) -> int:
    """Nano-USD, one rounding, up."""
    return -(-(input_tokens * INPUT_PRICE + output_tokens * OUTPUT_PRICE) // 1_000_000)


def estimate(question: Question, text_bytes: int, pieces: int = 0) -> int:
    """Nano-USD for the input and what was received: four bytes a token, but a token for each piece at least, and four tokens
    of a message's frame.
    """
    return cost(-(-len(question.message.encode()) // 4) + 4, max(-(-text_bytes // 4), pieces))


def full_cost(question: Question) -> int:
    """Nano-USD of the whole answer as the vendor reports it."""
    return cost(question.prompt_tokens, question.script.tokens + question.script.reasoning)


def calls_after_first_byte(case: Case) -> int:
    """How often the vendor was called for a stream that had begun."""
    first = case.asked.first_byte_at
    if first is None or case.question.form == "json":
        return 0
    return sum(call.started_at > first for call in case.calls)


def _answer(case: Case, _: Promise) -> Iterator[str]:
    expected, reading = case.question.expected.encode(), case.reading
    yield from reading.flaws
    if not expected.startswith(reading.text):
        yield "received something else than the vendor sent"
    elif reading.finished and reading.text != expected:
        yield f"received {len(reading.text)} of {len(expected)} bytes as if they were all"


def _end(case: Case, promise: Promise) -> Iterator[str]:
    asked, reading = case.asked, case.reading
    if asked.ending == "hung":
        yield "never ended"
    elif reading.error is not None and reading.error not in promise.errors:
        yield f"was shown {reading.error}"
    elif asked.ending in {"broken", "unreached"} and not reading.error and not promise.may_lose_connection:
        yield f"was {asked.ending} without a word"


def _calls(case: Case, promise: Promise) -> Iterator[str]:
    calls = case.calls
    if len(calls) > promise.calls_max:
        yield f"called the vendor {len(calls)} times"
    if calls_after_first_byte(case) and not promise.zombies_may_call:
        yield "called the vendor again after the first byte was out"
    if case.reading.finished and not any(call.ending == "completed" for call in calls):
        yield "was answered without the vendor's help"


def _books(case: Case, promise: Promise) -> Iterator[str]:
    row = case.row
    if len(case.rows) > 1:
        yield f"is on record {len(case.rows)} times"
    if row is None:
        if case.asked.status == 200 or case.calls:
            yield "ran without being on record"
        return
    if case.asked.request_id not in {None, row.id}:
        yield f"is on record as {row.id}, the caller was told {case.asked.request_id}"
    if row.hold_state == "held":
        yield "still has its hold"
    if row.captures != (1 if row.charged_nano else 0) or row.captured_nano != row.charged_nano:
        yield f"was captured {row.captures} times, {row.captured_nano} in all"
    if case.reading.finished and row.state != "succeeded" and not promise.two_may_end:
        yield "was answered whole and did not succeed"
    if row.state == "succeeded" and case.reading.error and not promise.may_charge_unseen:
        yield "succeeded and was shown an error"


def _charge(case: Case, promise: Promise) -> Iterator[str]:
    row, question = case.row, case.question
    if row is None or row.hold_state == "held":
        return
    whole, received = len(question.expected.encode()), len(case.reading.text)
    if row.state == "succeeded":
        if not row.estimated and row.charged_nano != full_cost(question):
            yield "was not charged what the vendor reported"
    elif row.charged_nano == 0:
        if received and not promise.may_be_free:
            yield "received something for nothing"
        taken = [call for call in case.calls if call.status < REFUSED_FROM]
        if row.state == "cancelled" and taken and not promise.may_be_free:
            yield "was cancelled after the vendor had taken it and not charged"
    elif (
        not estimate(question, 0 if promise.may_forget else received)
        <= row.charged_nano
        <= max(estimate(question, whole), full_cost(question))
    ):
        yield f"was charged neither for its {received} bytes nor for anything up to the whole answer"


def _journal(case: Case, promise: Promise) -> Iterator[str]:
    if case.journal is None:
        return
    text = "".join(event.text for event in case.journal if isinstance(event, Chunk)).encode()
    ends = [position for position, event in enumerate(case.journal) if not isinstance(event, Chunk)]
    if not case.question.expected.encode().startswith(text):
        yield "has a journal with something else than the vendor sent"
    if not text.startswith(case.reading.text) and case.question.form != "json" and not promise.may_forget:
        yield "received what is not in its journal"
    if ends not in ([], [len(case.journal) - 1]):
        yield f"has a journal of {len(case.journal)} events that ends at {ends}"


def _facts(case: Case) -> str:
    asked, row = case.asked, case.row
    calls = ", ".join(f"{call.ending or 'running'} after {call.tokens_sent}" for call in case.calls) or "none"
    seen = f"{asked.question.form} {asked.status} {asked.ending} {case.reading.error or ''}".strip()
    books = f"{row.state} {row.error_code or ''} charged {row.charged_nano}" if row else "nothing"
    return f" [{asked.request_id}; caller: {seen}; vendor calls: {calls}; on record: {books}]"
