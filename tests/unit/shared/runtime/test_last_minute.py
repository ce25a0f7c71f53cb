from __future__ import annotations

from shared.runtime.last_minute import LastMinute, Lately, bucket_of, percentile


def test_a_minute_is_told_by_vendor_and_forgotten_and_tokens_are_those_of_whole_seconds() -> None:
    at = 100.5
    seen = LastMinute(lambda: at)
    seen.waited("openai", 0.2)
    seen.received("openai", 10)
    seen.first_token("gemini", 1.0)
    assert seen.told() == {
        "openai": Lately(waits={bucket_of(0.2): 1}),
        "gemini": Lately(first_tokens={bucket_of(1.0): 1}),
    }
    at = 101.0
    seen.received("openai", 1_000)
    assert seen.told()["openai"].tokens_per_s == 2
    at = 160.0
    assert "gemini" in seen.told()
    at = 161.0
    assert seen.told() == {}


def test_percentiles_of_several_workers_are_true_to_a_tenth() -> None:
    times = [0.004 * number for number in range(1, 1_001)]
    counted: list[dict[int, int]] = [{}, {}]
    for number, seconds in enumerate(times):
        counts = counted[number % 2]
        counts[bucket_of(seconds)] = counts.get(bucket_of(seconds), 0) + 1
    for share in (0.5, 0.95, 0.99):
        told = percentile(counted, share)
        assert told is not None
        assert abs(told / (4 * share) - 1) < 0.1
    assert percentile([], 0.5) is None
