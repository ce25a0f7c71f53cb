"""The benchmark's own judgement: what it takes for the mock's answer, and what not."""

from __future__ import annotations

import pytest

from tests.bench import mock
from tests.bench.load import dechunked
from tests.bench.surfaces import SURFACES, Checker, WrongAnswerError
from tests.bench.workloads import quantile

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


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0
    assert quantile([1, 2, 3], 0.5) == 2
    assert quantile([1, 2, 3], 0.99) == 3
