from __future__ import annotations

import msgspec

from shared.lanes import QueueName
from shared.queue.heartbeat import Heartbeat, differing

OPENAI, GEMINI = QueueName("q:openai:interactive"), QueueName("q:gemini:interactive")


def _worker(name: str, *queues: QueueName, draining: bool = False, **upstreams: str) -> Heartbeat:
    said = {"services": (), "slots": 1, "running": 0, "draining": draining, "upstreams": upstreams}
    return Heartbeat(id=name, queues=queues, claims=queues, **said)  # type: ignore[arg-type]


def test_workers_of_a_queue_that_hold_the_same_differ_in_nothing() -> None:
    assert differing([_worker("a", OPENAI, x="1"), _worker("b", OPENAI, x="1"), _worker("c", GEMINI, y="1")]) == {}


def test_who_lacks_one_or_has_another_row_is_named_by_queue_and_upstream() -> None:
    workers = [
        _worker("a", OPENAI, x="1", y="1"),
        _worker("b", OPENAI, GEMINI, x="2", y="1"),
        _worker("c", OPENAI, GEMINI, x="1"),
    ]
    assert differing(workers) == {
        (OPENAI, "x"): ["b"],
        (OPENAI, "y"): ["c"],
        (GEMINI, "x"): ["c"],
        (GEMINI, "y"): ["c"],
    }


def test_only_workers_of_its_providers_queues_need_to_hold_an_upstream() -> None:
    """A worker of all vendors beside one that has only one vendor's key is no difference."""
    both = msgspec.structs.replace(_worker("a", OPENAI, GEMINI, x="1", y="1"), providers={"x": "openai", "y": "gemini"})
    one = msgspec.structs.replace(_worker("b", OPENAI, x="1"), providers={"x": "openai"})
    assert differing([both, one]) == {}
    other = msgspec.structs.replace(one, upstreams={"x": "2"})
    assert differing([both, one, other]) == {(OPENAI, "x"): ["b"]}


def test_who_drains_or_says_nothing_of_upstreams_does_not_count() -> None:
    assert (
        differing([_worker("a", OPENAI, x="1"), _worker("b", OPENAI), _worker("c", OPENAI, draining=True, x="2")]) == {}
    )
