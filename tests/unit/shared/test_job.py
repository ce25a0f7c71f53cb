from __future__ import annotations

import asyncio
import logging
import pickle

import msgspec
import pytest
from arq.jobs import deserialize_job_raw, deserialize_result, serialize_job, serialize_result
from arq.utils import args_to_string

from shared.catalogue.models import DefaultPrices
from shared.chat import CallPiece, ImagePart, ImageUrl, Message, TextPart
from shared.errors import ProviderError
from shared.job import (
    Chunk,
    Done,
    Event,
    Failed,
    Job,
    Sealed,
    arq_deserializer,
    arq_serializer,
    pack,
    unpack_event,
    unpack_job,
    unpack_settlement,
)
from shared.money import LongContext, Price, Usage
from shared.thoughts import Thought
from tests.harness.builders import a_job, a_model, a_release, a_reservation, a_settlement

CANARY = "canary-7f3a"


def _canary_job() -> Job:
    image = ImagePart(ImageUrl(f"data:image/png;base64,{CANARY}"))
    return a_job(messages=[Message("system", CANARY), Message("user", [TextPart(CANARY), image])])


def test_a_job_is_the_same_after_it_crossed_the_queue() -> None:
    job = _canary_job()
    raw = serialize_job("run_request", (Sealed(pack(job)),), {}, None, 1, serializer=arq_serializer)
    name, (sealed,), *_ = deserialize_job_raw(raw, deserializer=arq_deserializer)
    assert (name, unpack_job(sealed.data)) == ("run_request", job)


def test_a_job_is_not_copied_out_of_its_payload() -> None:
    raw = serialize_job("run_request", (Sealed(pack(_canary_job())),), {}, None, 1, serializer=arq_serializer)
    _, (sealed,), *_ = deserialize_job_raw(raw, deserializer=arq_deserializer)
    assert sealed.data.obj is raw


def test_what_arq_logs_of_a_job_is_its_size() -> None:
    data = pack(_canary_job())
    assert args_to_string((Sealed(data),), {}) == f"<{len(data)} bytes>"
    assert CANARY not in repr(Sealed(data)) + str(Sealed(data)) + f"{Sealed(data)!r:>40}"


def test_what_arq_logs_of_a_failure_has_nothing_of_the_payload(caplog: pytest.LogCaptureFixture) -> None:
    try:
        unpack_job(pack(_canary_job())[:-7])
    except msgspec.DecodeError:
        logging.getLogger("arq.worker").exception("job failed")
    assert CANARY not in caplog.text
    assert "job failed" in caplog.text


def test_nothing_is_pickled_in_either_direction() -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("this must not run",)

    with pytest.raises(NotImplementedError):
        arq_serializer({"a": Harmful()})
    with pytest.raises(msgspec.DecodeError):
        arq_deserializer(pickle.dumps({"a": Harmful()}))


@pytest.mark.parametrize("error", [ProviderError("cut"), asyncio.CancelledError()])
def test_a_failed_jobs_result_comes_back_as_an_error_of_its_kind(error: BaseException) -> None:
    raw = serialize_result("f", (), {}, 1, 1, False, error, 1, 2, "ref", "q", "id", serializer=arq_serializer)  # noqa: FBT003 - arq's own signature
    assert raw is not None
    result = deserialize_result(raw, deserializer=arq_deserializer).result
    assert isinstance(result, asyncio.CancelledError if isinstance(error, asyncio.CancelledError) else RuntimeError)


@pytest.mark.parametrize(
    "event",
    [
        Chunk("a\0b\N{SNOWMAN}"),
        Done("stop", Usage(1, 2, 1, 1, estimated=True), 5, "text"),
        Failed(ProviderError("x", retry_after_s=2).body(), 7, Usage(1, 2)),
    ],
)
def test_an_event_is_the_same_after_it_crossed_redis(event: Event) -> None:
    assert unpack_event(pack(event)) == event


class _PreviousPrice(msgspec.Struct):
    """As the previous release has it."""

    input: int
    output: int
    cached: int | None = None


class _PreviousModel(msgspec.Struct):
    vendor_price: _PreviousPrice
    price: _PreviousPrice
    price_version: str


class _PreviousJob(msgspec.Struct):
    model: _PreviousModel
    price: _PreviousPrice


def test_a_job_of_either_release_is_priced_by_the_other_as_far_as_that_one_knows() -> None:
    every = Price(3, 5, 1, 4, 6, LongContext(6, 9, 2, above=100))
    job = a_job(model=a_model(price=every, vendor_price=every))
    read = msgspec.msgpack.decode(pack(job), type=_PreviousJob)
    known = _PreviousPrice(3, 5, 1)
    assert (read.price, read.model.price, read.model.vendor_price) == (known, known, known)
    written = msgspec.msgpack.decode(pack(job))
    written["price"] = msgspec.to_builtins(known)
    assert unpack_job(msgspec.msgpack.encode(written)).price == Price(3, 5, 1)


def test_usage_and_settlements_are_read_by_the_release_that_knows_nothing_of_written_tokens_and_the_other_way() -> None:
    usage = Usage(9, 5, cached=2, written=4, written_long=1)
    told = msgspec.msgpack.decode(pack(Done("stop", usage, 5)))
    assert told[2]["cached"] == 2
    for name in ("written", "written_long"):
        del told[2][name]
    read = unpack_event(msgspec.msgpack.encode(told))
    assert isinstance(read, Done)
    assert read.usage == Usage(9, 5, cached=2)
    record = msgspec.msgpack.decode(pack(a_settlement(a_reservation("acc_x"), 5)))
    for name in ("tokens_cache_written", "tokens_cache_written_long"):
        del record[name]
    assert unpack_settlement(msgspec.msgpack.encode(record)).tokens_cache_written is None


def test_a_settlement_is_the_same_after_it_crossed_redis() -> None:
    settlement = a_release(a_reservation("acc_x"), error_message="a\0b")
    assert unpack_settlement(pack(settlement)) == settlement


@pytest.mark.parametrize(
    ("before", "now"),
    [(["c", "text"], Chunk("text", 3)), (["t", 0, "{}", "call_1", "f"], CallPiece(0, "{}", "call_1", "f", 2))],
)
def test_events_are_read_across_releases_that_know_pieces_and_that_do_not(before: list[object], now: Event) -> None:
    old, new = msgspec.msgpack.encode(before), pack(now)
    assert unpack_event(old) == msgspec.structs.replace(now, pieces=1)
    assert msgspec.msgpack.decode(new)[: len(before)] == before, "who knows no pieces finds all else where it was"


def test_what_the_previous_release_wrote_knows_no_tiers_and_it_finds_all_else_where_it_was() -> None:
    done = Done("stop", Usage(9, 5), 5, "Hi", served_tier="flex", thoughts=(Thought("Hm."),))
    told = msgspec.msgpack.decode(pack(done))
    without = msgspec.structs.replace(done, served_tier=None, thoughts=())
    assert unpack_event(msgspec.msgpack.encode(told[: told.index("flex")])) == without
    at_flex = a_model(service_tier="flex", at_default=DefaultPrices(Price(1, 1), Price(2, 2)))
    assert unpack_job(pack(a_job(model=at_flex))).model == at_flex
    written = msgspec.msgpack.decode(pack(a_job()))
    for name in ("service_tier", "at_default"):
        del written["model"][name]
    assert unpack_job(msgspec.msgpack.encode(written)).model == a_model()
    record = msgspec.msgpack.decode(pack(a_settlement(a_reservation("acc_x"), 5, served_tier="flex")))
    for name in ("served_tier", "saved_nano", "tier_loss_nano"):
        del record[name]
    assert unpack_settlement(msgspec.msgpack.encode(record)).served_tier is None
