"""`python -m workers`: a worker process, configured by the environment."""

from __future__ import annotations

import sys

import uvloop

from shared.errors import Unavailable
from shared.runtime import telemetry, traces
from shared.runtime.process import hide_versions, raise_open_files
from shared.settings import Settings, SettingsError
from shared.stores.migrations import MigrationError
from workers.main import run

REFUSALS = (SettingsError, MigrationError, Unavailable)


def main() -> int:
    """Run a worker until a signal drains it. Exit status 0 after a drain, 1 if it could not start."""
    try:
        settings = Settings.load()
        telemetry.configure(settings, "worker")
        raise_open_files()
        hide_versions()
        traces.start(settings, "worker")
        uvloop.run(run(settings))
    except REFUSALS as error:
        return _refuse(error)
    except BaseExceptionGroup as group:
        refusals, others = group.split(REFUSALS)
        if others or refusals is None:
            raise
        return _refuse(refusals.exceptions[0])
    finally:
        traces.stop()
    return 0


def _refuse(error: BaseException) -> int:
    print(f"workers: {error}", file=sys.stderr)  # noqa: T201 - one line, also where logging is not set up yet
    return 1


if __name__ == "__main__":
    sys.exit(main())
