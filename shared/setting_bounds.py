"""Settings that depend on others: defaults that adapt to them, and contradictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shared.setting_values import DAY_S, PORT_MAX

if TYPE_CHECKING:
    from shared.settings import Settings

PAUSES_PER_SILENCE = 3
"""A silent upload may be given up after this many of the longest pauses of a body."""


def fit_defaults(values: dict[str, object], usual: Mapping[str, Any]) -> None:
    """Add to the given values those defaults that depend on them, lowered or raised from the `usual` ones."""
    values.setdefault("metrics_host", values.get("host", usual["metrics_host"]))
    for smaller, (greater, fitting) in _FITTED.items():
        if isinstance(given := values.get(greater), int | float):
            values.setdefault(smaller, min(usual[smaller], fitting(given)))
    if isinstance(pause_s := values.get("body_within_s"), float):  # a longer pause for bodies makes this longer, too
        values.setdefault("upload_silent_s", max(usual["upload_silent_s"], PAUSES_PER_SILENCE * pause_s))


def refuse_contradictions(settings: Settings) -> None:
    """Raise `ValueError` for the first setting that contradicts another one."""
    for greater, smaller, but_less, because in _BOUNDED:
        most, value = getattr(settings, greater), getattr(settings, smaller)
        if value > most or (but_less and value == most):
            how_much = "less than" if but_less else "at most"
            raise ValueError(
                f"{smaller.upper()}={_plain(value)} is wrong: it takes {how_much} {greater.upper()} ({_plain(most)}),"
                f" {because}"
            )
    if settings.batch_days_kept * DAY_S <= settings.batch_expires_s:
        raise ValueError(
            f"BATCH_DAYS_KEPT={settings.batch_days_kept} is wrong: it takes more days than the {settings.batch_expires_s:g} s"
            " of BATCH_EXPIRES_S, so that a file outlives a batch over it"
        )
    if settings.upload_silent_s < PAUSES_PER_SILENCE * settings.body_within_s:
        raise ValueError(
            f"UPLOAD_SILENT_S={settings.upload_silent_s:g} is wrong: it takes at least {PAUSES_PER_SILENCE} times"
            f" BODY_WITHIN_S ({settings.body_within_s:g}), so that no upload is given up that only pauses"
        )
    if settings.queue_bytes_max < settings.body_bytes_max:
        raise ValueError(
            f"QUEUE_BYTES_MAX={settings.queue_bytes_max} is wrong: it takes no less than BODY_BYTES_MAX"
            f" ({settings.body_bytes_max}), so that a queue has room for each request that is taken"
        )
    if settings.metrics_port and settings.metrics_port + settings.web_concurrency - 1 > PORT_MAX:
        raise ValueError(
            f"METRICS_PORT={settings.metrics_port} is wrong: with WEB_CONCURRENCY={settings.web_concurrency} it takes at most"
            f" {PORT_MAX - settings.web_concurrency + 1}, because front door n has METRICS_PORT + n"
        )


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


_BOUNDED: tuple[tuple[str, str, bool, str], ...] = (
    ("lock_timeout_s", "ddl_lock_timeout_s", True, "so that a change of tables gives up before traffic does"),
    ("database_timeout_s", "lock_timeout_s", True, "so that a lock that is waited for is no Postgres that is away"),
    ("worker_seen_s", "heartbeat_s", True, "so that no worker that lives is taken for dead"),
    ("flex_deadline_s", "clock_off_max_s", True, "so that no request is over before it has begun"),
    ("request_deadline_s", "clock_off_max_s", True, "so that no request is over before it has begun"),
    ("worker_slots", "batch_slots_reserved", True, "of which it is a part, so that batches have some, too"),
    ("in_flight_max", "batch_in_flight_kept", True, "of which it is a part, so that batches are ever run"),
    ("batch_window_bytes_max", "batch_line_bytes_max", False, "so that the longest line is ever run"),
    ("batch_bytes_max", "batch_line_bytes_max", False, "in which a line has to fit"),
    ("batch_concurrency_max", "batch_concurrency_start", False, "beyond which it never grows"),
    ("retry_delay_max_s", "retry_delay_s", False, "which is the first of them"),
    ("queue_bytes_max", "queue_newcomers_bytes", False, "of which there may be twice as many at most"),
    ("upstream_open_max_s", "upstream_open_s", False, "which is the first of them"),
    ("queue_depth_max", "batch_window_max", False, "so that what is fed finds room in the queue"),
)
"""Pairs of settings of which one bounds the other: the greater, the smaller, whether the smaller must be less, and why."""
_FITTED: dict[str, tuple[str, Callable[[float], float]]] = {
    "ddl_lock_timeout_s": ("lock_timeout_s", lambda traffic_s: traffic_s / 2),
    "clock_off_max_s": ("request_deadline_s", lambda deadline_s: deadline_s / 2),
    "batch_slots_reserved": ("worker_slots", lambda slots: int(slots) - 1),
    "batch_in_flight_kept": ("in_flight_max", lambda requests: int(requests) // 2),
    "retry_delay_s": ("retry_delay_max_s", float),
    "batch_concurrency_start": ("batch_concurrency_max", int),
    "upstream_open_s": ("upstream_open_max_s", float),
    "batch_window_max": ("queue_depth_max", int),
    "queue_newcomers_bytes": ("queue_bytes_max", lambda size: int(size) // 2),
}
"""Defaults that are lowered if a setting that bounds them is lower, so that the bound can be given alone."""
