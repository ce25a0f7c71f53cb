"""The simulator process: `python -m deploy.simulator --port 0 --port-file FILE`. It stops at SIGTERM and SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

from deploy.simulator import plans
from deploy.simulator import script as scripts
from deploy.simulator.app import create_app, listening
from deploy.simulator.plans import Plan
from deploy.simulator.script import ScriptError
from shared.runtime.process import hide_versions


def main() -> int:
    """Serve until told to stop; 2 when an argument, a `SIM_*` variable or the file of plans is wrong."""
    arguments = _arguments()
    try:
        defaults = scripts.overlay(arguments.script, scripts.from_environment(os.environ))
        first_plans = plans.read_file(arguments.plans) if arguments.plans else ()
    except ScriptError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _raise_open_files()
    hide_versions()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(arguments.host, arguments.port, arguments.port_file, defaults, first_plans))
    return 0


async def _serve(
    host: str, port: int, port_file: Path | None, defaults: scripts.Script, first_plans: tuple[Plan, ...]
) -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with listening(create_app(defaults, first_plans), host, port) as bound:
        if port_file is not None:
            _write_atomically(port_file, str(bound))
        sys.stdout.write(f"simulator listening on http://{host}:{bound}\n")
        sys.stdout.flush()
        await stop.wait()


def _write_atomically(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def _raise_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 (absent on Windows)
    except ImportError:
        return None
    return uvloop.Loop  # type: ignore[no-any-return, unused-ignore]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--port-file", type=Path, help="where the port is written once it listens")
    parser.add_argument("--script", default="", help='defaults of every call, e.g. "tokens=24 first_ms=0 pace_ms=0"')
    plans_file = os.environ.get("SIM_PLANS") or None  # an empty variable names no file
    parser.add_argument("--plans", type=Path, default=plans_file, help="a file with a JSON list of plans (SIM_PLANS)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
