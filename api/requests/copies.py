"""Copies of enqueued jobs, for the case that Redis loses them. They take at most as many bytes as this process may
hold.
"""

from __future__ import annotations

from shared.job import PackedJob

LARGEST_PART = 4
"""A copy that takes more than this part of all bytes is not kept, because it would displace too many others."""
BYTES_BESIDE = 1_000
"""Bytes that a copy takes beside its job."""


class Copy:
    """A copy of one job. It exists until its holder drops it or newer copies displace it."""

    __slots__ = ("_kept_by", "job")

    def __init__(self, job: PackedJob | None, kept_by: Copies) -> None:
        self.job = job
        self._kept_by = kept_by

    def drop(self) -> None:
        """Drop the copy; the job cannot be enqueued again."""
        if self.job is not None:
            self._kept_by.forget(self, self.job)
            self.job = None


class Copies:
    """Copies of at most `bytes_max` bytes; the oldest are displaced first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: dict[Copy, None] = {}
        self.bytes = 0

    def keep(self, job: PackedJob) -> Copy:
        """Keep a copy of the job, if there is room."""
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
        """Called by `Copy.drop`."""
        del self._kept[copy]
        self.bytes -= job.bytes + BYTES_BESIDE
