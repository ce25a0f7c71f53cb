"""Waits for the bells of queues. A ring is an element of a Redis list, and wakes one of the workers that block on the
list.

A ring reaches only one worker. So a worker must not listen to a queue for which it has no slot, because it would take
the ring from a worker that has one. And it must listen to every queue for which it has a slot, or the slot waits for a
timer. Slots come and go while Redis holds the worker's question, so after each claim the owner says for which queues it
has room. Large jobs that a claim leaves behind ring a bell of their own; a worker without memory for them does not
listen to that bell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import hiredis
import redis.asyncio
import redis.exceptions

from shared.lanes import QueueName
from shared.stores.keys import own_bell
from shared.stores.redis_client import UNREACHABLE, connected
from shared.stores.redis_connections import Pipeline

UNREACHABLE_PAUSE_S = 0.2
LATE_S = 3.0
"""Seconds beyond the longest silence after which the connection counts as lost."""


class Bells:
    """Listens on a connection of its own, `wait_s` at a time. The owner runs `run` as a task.

    `rang` is called with the queue of each ring. Then the owner claims and calls `listen` with the queues for which it
    has room; until then Redis is not asked. If the connection is lost, a ring may be lost too, so `rang` is called for
    each queue. A ring of the worker's own bell may also name a queue: the large job there for which this worker had no
    room is gone.
    """

    def __init__(
        self, client: redis.asyncio.Redis, worker_id: str, rang: Callable[[QueueName], None], *, wait_s: float
    ) -> None:
        self._client = client
        self._own = own_bell(worker_id)
        self._rang = rang
        self._wait_s = wait_s
        self._wanted: Mapping[str, QueueName] = {}
        """Bells of queues that the owner has room for, with the queues."""
        self._may_ask = asyncio.Event()
        """Set if the owner has claimed since the last ring and has room for something."""
        self._asked: frozenset[str] = frozenset()
        """The bells in the question that Redis holds now."""
        self._answered = asyncio.Event()
        self._answered.set()

    def listen(self, bells: Mapping[str, QueueName]) -> bool:
        """Listen to these bells, each of a queue, from now on. True if Redis holds a question that lacks one of them:
        then the owner must ring the worker's own bell, so that the question is asked anew. A question for too many
        bells is left as it is; the owner passes superfluous rings on.
        """
        self._wanted = bells
        if bells:
            self._may_ask.set()
        else:
            self._may_ask.clear()
        return bool(self._asked) and not self._asked >= bells.keys()

    @property
    def asking(self) -> bool:
        """True if Redis holds a question, which it may answer with a ring."""
        return bool(self._asked)

    async def answered(self) -> None:
        """Wait until Redis holds no question and `rang` was called for every ring."""
        await self._answered.wait()

    async def run(self) -> None:
        """Listen until cancelled, on another connection after each loss."""
        while True:
            try:
                line = await connected(self._client, Pipeline(self._wait_s + LATE_S))
                try:
                    await self._listen(line)
                finally:
                    line.close()
            except UNREACHABLE:
                await asyncio.sleep(UNREACHABLE_PAUSE_S)

    async def _listen(self, line: Pipeline) -> None:
        while True:
            while not self._may_ask.is_set():  # wait again if it was cleared before this task had its turn
                await self._may_ask.wait()
            rung = await self._ask(line, self._wanted)
            if rung is not None:
                self._tell({rung})

    async def _ask(self, line: Pipeline, bells: Mapping[str, QueueName]) -> QueueName | None:
        """The queue whose bell rang; None after `wait_s`, or if the worker's own bell rang without a queue."""
        self._asked = frozenset(bells)
        self._answered.clear()
        try:
            rung = await line.ask("BLPOP", *bells, self._own, self._wait_s)
        except UNREACHABLE:
            self._tell(bells.values())
            raise
        finally:
            self._asked = frozenset()
            self._answered.set()
        if isinstance(rung, hiredis.ReplyError):
            raise redis.exceptions.ResponseError(str(rung))
        if not rung:
            return None
        name, said = (word.decode() for word in rung)
        if name == self._own:
            return QueueName(said) if said.startswith("q:") else None
        return bells.get(name)

    def _tell(self, queues: Collection[QueueName]) -> None:
        self._may_ask.clear()
        for queue in queues:
            self._rang(queue)
