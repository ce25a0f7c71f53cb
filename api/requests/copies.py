"""Copies of what was enqueued, for the case that Redis is emptied: as many bytes of them as this process may hold."""

from __future__ import annotations

from shared.job import PackedJob

LARGEST_PART = 4
"""A copy that takes more than this part of all bytes is not kept: it would push out too many others."""
BYTES_BESIDE = 1_000
"""What a copy takes beside its request."""


class Copy:
    """Of one job, until it is dropped, by whoever needs it no more or because newer ones take its place."""

    __slots__ = ("_kept_by", "job")

    def __init__(self, job: PackedJob | None, kept_by: Copies) -> None:
        self.job = job
        self._kept_by = kept_by

    def drop(self) -> None:
        """Nobody enqueues it again."""
        if self.job is not None:
            self._kept_by.forget(self, self.job)
            self.job = None


class Copies:
    """At most `bytes_max` of them; the oldest go first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: dict[Copy, None] = {}
        self.bytes = 0

    def keep(self, job: PackedJob) -> Copy:
        """A copy of it, if there is room."""
        size = job.bytes + BYTES_BESIDE
        if size > self._bytes_max // LARGEST_PART:
            return Copy(None, self)
        copy = Copy(job, self)
        self._kept[copy] = None
        self.bytes += size
        while self.bytes > self._bytes_max:
            next(iter(self._kept)).drop()
        return copy

    def forget(self, copy: Copy, job: PackedJob) -> None:
        """For `Copy.drop`."""
        del self._kept[copy]
        self.bytes -= job.bytes + BYTES_BESIDE
