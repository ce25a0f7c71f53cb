"""The parts of the simulator that are pure: scripts, answers, and what a process remembers."""

import asyncio
import json

import pytest

from deploy.simulator import answer
from deploy.simulator.answer import Reply, Usage
from deploy.simulator.calls import Call, CallLog
from deploy.simulator.script import Said, Script, ScriptError, from_environment, from_message
from deploy.simulator.state import Simulator

DEFAULTS = Script()
AWKWARD = Script(tokens=60, unicode=True)


def scripted(simulator: Simulator, text: str) -> Script:
    return simulator.directions_for([Said("user", text)]).script


def test_a_directive_overrides_the_defaults_and_the_last_one_counts() -> None:
    script = from_message("hi [[sim tokens=1]] there [[sim tokens=3 fault=cut after=2 key=k1 unicode=1]]", DEFAULTS)
    assert script == Script(tokens=3, fault="cut", after=2, key="k1", unicode=True)


def test_a_message_without_directive_keeps_the_defaults() -> None:
    assert from_message("hello [[simple]]", DEFAULTS) is DEFAULTS


@pytest.mark.parametrize("directive", ["tokens=many", "fault=unheard", "colour=red", "tokens=-1", "status=999"])
def test_a_wrong_directive_is_refused(directive: str) -> None:
    with pytest.raises(ScriptError):
        from_message(f"[[sim {directive}]]", DEFAULTS)


def test_the_environment_sets_defaults() -> None:
    assert from_environment({"SIM_TOKENS": "7", "SIM_PACE_MS": "0", "PATH": "/bin"}) == Script(tokens=7, pace_ms=0)


def test_the_text_says_at_once_that_it_is_simulated() -> None:
    assert "".join(answer.answer("gpt-4o", "hi", DEFAULTS)[:8]).startswith("[simulated gpt-4o] ")


def test_the_text_is_the_same_every_time_and_differs_by_key() -> None:
    assert answer.answer("m", "a", DEFAULTS) == answer.answer("m", "a", DEFAULTS)
    texts = {"".join(answer.answer("m", "a", Script(key=str(i)))) for i in range(100)}
    assert len(texts) > 90


def test_a_key_makes_the_text_independent_of_the_prompt() -> None:
    keyed = Script(key="k")
    assert answer.answer("m", "one", keyed) == answer.answer("m", "two", keyed)


def test_awkward_text_holds_what_breaks_careless_readers() -> None:
    text = "".join(answer.answer("m", "a", AWKWARD))
    assert all(part in text for part in ("🙂", "漢字", "e\u0301", "\u2028", "\x85", "\n", '"', "\\"))


def test_tokens_have_the_size_asked_for() -> None:
    pieces = answer.answer("m", "a", Script(tokens=50, size=64, unicode=True))
    assert {len(piece.encode()) for piece in pieces[2:]} == {64}


def test_a_limit_cuts_and_reasoning_uses_it_up_first() -> None:
    cut = answer.reply(answer.answer("m", "a", Script(tokens=10)), 5, Script(reasoning=6), 8, ())
    assert (len(cut.pieces), cut.reasoning, cut.output_tokens, cut.ending) == (2, 6, 8, "length")
    assert answer.reply(["a"], 5, Script(reasoning=9), 8, ()).pieces == ()


def test_a_stop_sequence_ends_the_text_before_it() -> None:
    full = "".join(answer.answer("m", "a", DEFAULTS))
    cut = answer.reply(answer.answer("m", "a", DEFAULTS), 5, DEFAULTS, 100, ("was up", "up by"))
    assert (cut.text, cut.ending) == (full[: full.index("up by")], "stop_sequence")


def test_lone_halves_join_to_the_piece() -> None:
    for piece in answer.answer("m", "a", AWKWARD):
        halves = [json.loads(half) for half in answer.lone_halves(piece)]
        assert "".join(halves).encode("utf-16", "surrogatepass").decode("utf-16") == piece
    assert len(answer.lone_halves(" 🙂")) == 2


def test_a_prompt_never_counts_more_than_its_bytes_and_eight_per_message() -> None:
    for text in ("", "a", "漢字", "x" * 1000):
        assert answer.prompt_tokens([text, text]) <= 2 * (len(text.encode()) + 8)


def test_usage_can_lie() -> None:
    reply = Reply(("a", "b"), "stop", 10)
    assert answer.usage_of(reply, DEFAULTS) == Usage(10, 0, 2, 0)
    assert answer.usage_of(reply, Script(usage="missing")) is None
    assert answer.usage_of(reply, Script(usage="negative")) == Usage(-10, 0, -2, 0)
    assert answer.usage_of(reply, Script(usage="contradictory")) == Usage(10, 11, 2, 0)


def test_what_is_read_from_and_written_to_a_cache_is_no_more_than_the_prompt() -> None:
    reply = answer.reply(["a"], 10, Script(cached=4, written=9, written_long=7), 100, ())
    assert answer.usage_of(reply, DEFAULTS) == Usage(10, 4, 1, 0, 6, 6)


def test_a_fault_with_times_is_spent_per_key() -> None:
    simulator = Simulator(DEFAULTS)
    statuses = [scripted(simulator, f"[[sim status=429 times=2 key={key}]]").status for key in "aaabaa"]
    assert statuses == [429, 429, 0, 429, 0, 0]


def test_defaults_are_laid_over_those_of_the_process_and_restored() -> None:
    simulator = Simulator(Script(tokens=5))
    simulator.set_defaults({"status": 429})
    assert scripted(simulator, "hi") == Script(tokens=5, status=429)
    simulator.set_defaults({})
    assert scripted(simulator, "hi") == Script(tokens=5)


async def test_a_cancelled_call_is_logged_as_gone() -> None:
    log, started = CallLog(), asyncio.Event()

    async def call() -> None:
        with log.record("api"):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(call())
    await started.wait()
    task.cancel()
    await log.until(lambda calls: bool(calls.find(ending="client_gone")))
    assert task.done() or await asyncio.gather(task, return_exceptions=True)


def test_calls_of_a_key_are_found_without_a_look_at_any_other_call() -> None:
    log = CallLog()
    ours, other = _logged(log, "ours"), _logged(log, "other")
    del other.key, other.ending  # whoever reads them fails
    assert log.find("ours") == [ours]
    assert log.find("ours", "completed") == [ours]
    assert log.find("nobody's") == []


def test_a_call_goes_by_its_last_key_and_is_forgotten_with_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.simulator.calls.CALLS_MAX", 2)
    log = CallLog()
    first, second, third = _logged(log, "a"), _logged(log, "a"), _logged(log, "a")
    assert log.find("a") == log.find() == [second, third]
    assert first not in log.find("a")
    log.name(second, "b")
    assert (log.find("a"), log.find("b")) == ([third], [second])
    log.reset()
    assert log.find("a") == log.find("b") == log.find() == []


def _logged(log: CallLog, key: str) -> Call:
    with log.record("api") as call:
        log.name(call, key)
    return call
