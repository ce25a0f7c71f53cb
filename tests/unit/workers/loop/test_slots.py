from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.lanes import LANES, QueueName, lane_of, lanes_of, provider_of
from shared.queue.claims import Room
from shared.setting_values import queue_list
from shared.vendors import PROVIDERS
from workers.loop.slots import Slots, first_of_lane

ALL = queue_list("*:interactive,*:batch")
OPENAI, OPENAI_BATCH = QueueName("q:openai:interactive"), QueueName("q:openai:batch")
GEMINI = QueueName("q:gemini:interactive")
OPENAI_FLEX, GEMINI_FLEX = QueueName("q:openai:flex"), QueueName("q:gemini:flex")


def test_one_provider_may_not_take_more_than_its_share_from_the_others() -> None:
    slots = Slots(queues=[OPENAI, GEMINI], total=10, reserved=0, share_percent=60)
    assert slots.rooms([OPENAI] * 5) == [Room(OPENAI, 1, 5), Room(GEMINI, 5, 5)]
    assert slots.rooms([OPENAI] * 6) == [Room(GEMINI, 4, 4)]


def test_a_worker_of_one_provider_gives_it_every_slot() -> None:
    slots = Slots(queues=[OPENAI], total=10, reserved=3, share_percent=60)
    assert slots.rooms([]) == [Room(OPENAI, 10, 10)]


def test_batch_never_takes_the_slots_reserved_for_interactive() -> None:
    slots = Slots(queues=[OPENAI, OPENAI_BATCH], total=10, reserved=4, share_percent=100)
    assert slots.rooms([OPENAI_BATCH] * 6) == [Room(OPENAI, 4, 4)]


def test_batch_leaves_room_to_interactive_requests_of_its_own_provider() -> None:
    slots = Slots(queues=ALL, total=100, reserved=10, share_percent=60)
    assert Room(OPENAI_BATCH, 54, 90) in slots.rooms([])
    rooms = slots.rooms([OPENAI_BATCH] * 54)
    assert Room(OPENAI, 6, 46) in rooms
    assert OPENAI_BATCH not in [room.queue for room in rooms]


def test_a_worker_of_batch_alone_reserves_nothing() -> None:
    slots = Slots(queues=[OPENAI_BATCH], total=10, reserved=4, share_percent=60)
    assert slots.rooms([]) == [Room(OPENAI_BATCH, 10, 10)]


def test_flex_has_a_part_of_its_providers_share_and_leaves_what_batch_leaves() -> None:
    slots = Slots(queues=ALL, total=100, reserved=10, share_percent=60, flex_percent=40)
    assert Room(OPENAI_FLEX, 24, 90) in slots.rooms([])
    assert OPENAI_FLEX not in [room.queue for room in slots.rooms([OPENAI_FLEX] * 24)]
    assert Room(OPENAI_FLEX, 14, 50) in slots.rooms([OPENAI_BATCH] * 40)
    assert Room(OPENAI_BATCH, 30, 66) in slots.rooms([OPENAI_FLEX] * 24)
    patient = [OPENAI_FLEX] * 24 + [OPENAI_BATCH] * 30 + [GEMINI_FLEX] * 24
    rooms = slots.rooms(patient)
    assert Room(OPENAI, 6, 22) in rooms
    assert [room.lane for room in rooms if room.queue == "q:gemini:batch"] == [12]


def test_a_worker_of_flex_alone_gives_it_every_slot() -> None:
    assert Slots(queues=[OPENAI_FLEX], total=10, reserved=4, share_percent=60, flex_percent=40).rooms([]) == [
        Room(OPENAI_FLEX, 10, 10)
    ]
    slots = Slots(queues=[OPENAI_BATCH, OPENAI_FLEX], total=10, reserved=4, share_percent=60, flex_percent=40)
    assert slots.rooms([]) == [Room(OPENAI_BATCH, 10, 10), Room(OPENAI_FLEX, 4, 10)]


def test_the_smallest_worker_still_serves_every_queue() -> None:
    slots = Slots(queues=ALL, total=1, reserved=10, share_percent=1)
    assert [room.queue for room in slots.rooms([])] == list(ALL)


def test_queues_keep_their_order_of_priority() -> None:
    slots = Slots(queues=ALL, total=100, reserved=10, share_percent=60)
    assert [room.queue for room in slots.rooms([])] == list(ALL)


@given(
    total=st.integers(1, 50),
    reserved=st.integers(0, 50),
    share=st.integers(1, 100),
    running=st.lists(st.sampled_from(ALL), max_size=60),
)
def test_what_is_promised_never_passes_any_limit(
    total: int, reserved: int, share: int, running: list[QueueName]
) -> None:
    slots = Slots(queues=ALL, total=total, reserved=reserved, share_percent=share)
    for room in slots.rooms(running[:total]):
        free = total - len(running[:total])
        assert 0 < room.provider <= free
        assert 0 < room.lane <= free
        of_provider = sum(provider_of(queue) == provider_of(room.queue) for queue in running[:total])
        assert room.provider + of_provider <= max(1, total * share // 100)
        if lane_of(room.queue) == "batch":
            of_batch = sum(lane_of(queue) == "batch" for queue in running[:total])
            assert room.lane + of_batch <= max(1, total - reserved)


def test_a_queue_name_says_its_provider_and_its_lane() -> None:
    assert [(provider_of(queue), lane_of(queue)) for queue in ALL] == [
        (p, lane) for lane in LANES for p in PROVIDERS if lane in lanes_of(p)
    ]


def test_rooms_say_how_much_memory_a_payload_takes() -> None:
    slots = Slots(queues=[OPENAI, GEMINI], total=10, reserved=0, share_percent=100, copies={"gemini": 7})
    assert [room.copies for room in slots.rooms([])] == [1, 7]


def test_where_a_large_job_waits_for_memory_comes_first_of_its_lane() -> None:
    rooms = Slots(queues=ALL, total=10, reserved=1, share_percent=100).rooms([])
    gemini_batch = QueueName("q:gemini:batch")
    for waiting in (GEMINI, gemini_batch, OPENAI):
        names = [room.queue for room in first_of_lane(rooms, waiting)]
        of_lane = [queue for queue in ALL if lane_of(queue) == lane_of(waiting)]
        assert sorted(names) == sorted(ALL)
        assert [lane_of(queue) for queue in names] == [lane_of(queue) for queue in ALL]
        assert [queue for queue in names if queue in of_lane] == [waiting, *(one for one in of_lane if one != waiting)]
    assert first_of_lane(rooms, None) == rooms
    assert first_of_lane(rooms[:1], GEMINI) == rooms[:1]
