"""The benchmark's own judgement: what it takes for the mock's answer, and what not."""

from __future__ import annotations

import pytest

from api.formats.responses.chat import parse_response
from shared.ids import new_id
from shared.job import Chunk, Done
from shared.money import Usage
from tests.bench import mock
from tests.bench.load import dechunked
from tests.bench.surfaces import SURFACES, Checker, WrongAnswerError
from tests.bench.workloads import quantile
from tests.harness.rendering import rendered

STREAM = b"".join(mock.STREAM_PARTS).partition(b"\r\n\r\n")[2]
JSON = mock.JSON_ANSWER.partition(b"\r\n\r\n")[2]


def test_the_mocks_stream_is_whole_only_with_its_last_byte() -> None:
    body = dechunked(STREAM, 0)
    assert body is not None
    Checker(SURFACES["openai"], stream=True).check(200, body)
    assert all(dechunked(STREAM[:cut], 0) is None for cut in range(0, len(STREAM) - 4, 97))


@pytest.mark.parametrize("stream", [False, True])
def test_one_changed_byte_is_found_also_after_good_answers(*, stream: bool) -> None:
    good = dechunked(STREAM, 0) if stream else JSON
    assert good is not None
    checker = Checker(SURFACES["openai"], stream=stream)
    checker.check(200, good)
    with pytest.raises(WrongAnswerError):
        checker.check(200, good.replace(b"token42 ", b"token43 "))
    with pytest.raises(WrongAnswerError):
        checker.check(503, good)


def test_a_stream_without_its_end_is_no_answer() -> None:
    body = dechunked(STREAM, 0)
    assert body is not None
    with pytest.raises(WrongAnswerError):
        Checker(SURFACES["openai"], stream=True).check(200, body.removesuffix(b"data: [DONE]\n\n"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["responses", "responses-stored"])
def test_a_response_is_checked_alike(name: str, *, stream: bool) -> None:
    surface, request_id, usage = SURFACES[name], new_id("req"), Usage(mock.TOKENS_IN, mock.TOKENS_OUT)
    form = parse_response(surface.body("m", "Hello", stream=stream)).form
    if stream:
        events = form.stream("", request_id, "m")
        good = rendered(events, 0, Chunk(mock.TEXT)) + rendered(events, 1, Done("stop", usage, 0))
    else:
        good = form.answer(Done("stop", usage, 0, mock.TEXT), request_id, "m")
    checker = Checker(surface, stream=stream)
    checker.check(200, good)
    for bad in (good.replace(b"token42 ", b"token43 "), good[: len(good) // 2]):
        with pytest.raises(WrongAnswerError):
            checker.check(200, bad)


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0
    assert quantile([1, 2, 3], 0.5) == 2
    assert quantile([1, 2, 3], 0.99) == 3
