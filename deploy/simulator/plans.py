"""Plans: what the simulated model says and calls in each turn of a talk, so that a real agent can do a real task.

`POST /_plans`, or the list in the file of `--plans` or `SIM_PLANS`; a directive then names the plan, `[[sim plan=k1]]`:

    {"key": "k1", "turns": [{"text": "I look first.", "calls": [{"name": "Read", "arguments": {"file_path": "a.txt"}}]},
                            {"calls": [{"name": "Edit", "arguments": {}}, {"name": "Edit", "arguments": {}}]},
                            {"text": "All done."}]}

Which turn it is follows from the messages sent alone: as many as the model has had since the user's message with the
directive, so that a retry is given the same turn. Where one call at a time is asked for, each call is a turn of its own.
Plain text is said after the last turn, and where a tool that the turn calls is not on offer, by exactly this name, as in
the calls in which agents ask for a title. A turn of text alone needs no tools; where JSON is wanted, that is said instead,
unless any object will do and the text is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from deploy.simulator.script import ScriptError
from shared.utf8 import NotUtf8, utf8

PLANS_MAX = 1_000
PLANS_BYTES_MAX = 16 * 1024 * 1024
"""Most bytes of all plans' JSON."""
TURNS_MAX = 1_000
CALLS_MAX = 100

Key = Annotated[str, msgspec.Meta(pattern=r"\A[^\s\]]{1,200}\Z")]
"""A key that a directive can name: no white space and no `]`."""


class PlannedCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call: the tool's name as the vendor is told it, and the arguments."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: dict[str, Any] = {}


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer: text, calls, or text before calls."""

    text: str = ""
    calls: Annotated[tuple[PlannedCall, ...], msgspec.Meta(max_length=CALLS_MAX)] = ()

    def __post_init__(self) -> None:
        if not self.text and not self.calls:
            raise ValueError("a turn needs `text` or `calls`")

    def one_by_one(self) -> Iterator[Turn]:
        """The turns that this turn becomes if only one call at a time may be made."""
        yield Turn(self.text, self.calls[:1])
        yield from (Turn("", (call,)) for call in self.calls[1:])


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The turns of one talk, and the key that chooses it."""

    key: Key
    turns: Annotated[tuple[Turn, ...], msgspec.Meta(min_length=1, max_length=TURNS_MAX)]

    def turn(self, number: int, *, parallel: bool) -> Turn | None:
        """A turn, from 0; None after the last one."""
        turns = self.turns if parallel else [one for turn in self.turns for one in turn.one_by_one()]
        return turns[number] if number < len(turns) else None


class Plans:
    """The plans of one process, bounded in number and bytes."""

    def __init__(self, first: tuple[Plan, ...] = ()) -> None:
        self._first = first
        self._plans: dict[str, Plan] = {}
        self._bytes: dict[str, int] = {}
        self.reset()

    def add(self, plan: Plan) -> None:
        """Keep a plan, in place of one with the same key. Raises `ScriptError` where there is no room for it."""
        others = {key: size for key, size in self._bytes.items() if key != plan.key}
        size = len(msgspec.json.encode(plan))
        if len(others) >= PLANS_MAX or sum(others.values()) + size > PLANS_BYTES_MAX:
            raise _no_room()
        self._plans[plan.key], self._bytes[plan.key] = plan, size

    def turn(self, key: str, number: int, *, parallel: bool) -> Turn | None:
        """A turn of a plan, from 0; None without a key and after the last turn. Raises `ScriptError`."""
        if not key:
            return None
        if key not in self._plans:
            raise ScriptError(f"simulator directive: no plan {key!r}; POST /_plans or a file of --plans makes it known")
        return self._plans[key].turn(number, parallel=parallel)

    def reset(self) -> None:
        """Forget all plans but those of the start."""
        self._plans.clear()
        self._bytes.clear()
        for plan in self._first:
            self.add(plan)


def read(raw: bytes) -> Plan:
    """Read a plan. Raises `ScriptError`, which says what is wrong with it."""
    if len(raw) > PLANS_BYTES_MAX:
        raise _no_room()
    try:
        return msgspec.json.decode(utf8(raw), type=Plan)
    except NotUtf8 as error:
        raise ScriptError(f"simulator plan: it is {error}; write it in UTF-8") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ScriptError(f"simulator plan: {error}") from None


def read_file(path: Path) -> tuple[Plan, ...]:
    """Read a file with a JSON list of plans. Raises `ScriptError`, also where they are too many."""
    try:
        plans = msgspec.json.decode(utf8(path.read_bytes()), type=tuple[Plan, ...])
    except NotUtf8 as error:
        raise ScriptError(f"simulator plans in {path}: they are {error}; save them as UTF-8") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ScriptError(f"simulator plans in {path}: {error}") from None
    Plans(plans)
    return plans


def _no_room() -> ScriptError:
    return ScriptError(
        f"simulator plan: no room for it, there are at most {PLANS_MAX} plans with {PLANS_BYTES_MAX} bytes of JSON "
        "together; POST /_calls/reset forgets those that were posted"
    )
