"""The peers, each in an environment of its own under `.bench/`, built only when asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from deploy.local.child import Program, log_tail, run_to_end
from deploy.local.listener import free_port
from tests.bench.surfaces import SURFACES
from tests.bench.targets import MODEL, Bench, NotRunnableError, Target, until_answering

INSTALL_S = 600.0
LITELLM, PORTKEY = "litellm", "portkey"
ROOT = Path(".bench").absolute()
PORTKEY_OVERRIDES = {"@hono/node-server": "1.13.7"}
"""With 1.19 Portkey 1.15.2 answers every stream with a 500 on node 20 (`TypeError: immutable`)."""
Start = Callable[[Bench], contextlib.AbstractAsyncContextManager[Target]]


def installed() -> list[str]:
    """The peers whose environments are there."""
    return [name for name, binary in _BINARIES.items() if binary.exists()]


async def install(name: str) -> None:
    """Build a peer's environment, from the registry as this machine is set up for it; `NotRunnableError` if refused."""
    if _BINARIES[name].exists():
        return
    print(f"bench: installing {name} into {ROOT / name}", file=sys.stderr)
    (ROOT / name).mkdir(parents=True, exist_ok=True)
    for command in _INSTALLATION[name]():
        await _run(name, command)


async def version(name: str) -> str:
    """As the environment says."""
    if name == LITELLM:
        found = sorted((ROOT / name).glob("lib/python*/site-packages/litellm-*.dist-info"))
        return found[-1].name.removeprefix("litellm-").removesuffix(".dist-info") if found else "?"
    manifest = ROOT / name / "node_modules/@portkey-ai/gateway/package.json"
    return str(json.loads(await asyncio.to_thread(manifest.read_text))["version"])


@contextlib.asynccontextmanager
async def litellm(bench: Bench) -> AsyncIterator[Target]:
    """LiteLLM's proxy as its handbook starts it, one process, without keys, budgets and database: its best case."""
    port, config = free_port(), bench.folder / "litellm.json"
    parameters = {"model": f"openai/{MODEL}", "api_base": f"{bench.mock_url}/v1", "api_key": "bench"}
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}))
    command = (str(_BINARIES[LITELLM]), "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    environment = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # as without keys it must be told
        "HOME": str(bench.folder),
    }
    async with bench.child(LITELLM, command, environment) as child:
        target = Target(
            name=f"LiteLLM {await version(LITELLM)}",
            surface=SURFACES["openai"],
            port=port,
            processes={LITELLM: [child.pid]},
            note="no keys, no budget",
        )
        await until_answering(target, child)
        yield target


@contextlib.asynccontextmanager
async def portkey(bench: Bench) -> AsyncIterator[Target]:
    """Portkey's gateway, one process of node."""
    port = free_port()
    command = (shutil.which("node") or "node", str(_BINARIES[PORTKEY]), f"--port={port}", "--headless")
    async with bench.child(PORTKEY, command, {"NODE_ENV": "production"}) as child:
        target = Target(
            name=f"Portkey {await version(PORTKEY)}",
            surface=SURFACES["openai"],
            port=port,
            headers={"x-portkey-provider": "openai", "x-portkey-custom-host": f"{bench.mock_url}/v1"},
            processes={PORTKEY: [child.pid]},
            note="no keys",
        )
        await until_answering(target, child)
        yield target


PEERS: dict[str, Start] = {LITELLM: litellm, PORTKEY: portkey}
_BINARIES = {
    LITELLM: ROOT / LITELLM / "bin/litellm",
    PORTKEY: ROOT / PORTKEY / "node_modules/@portkey-ai/gateway/build/start-server.js",
}


def _litellm_installation() -> list[tuple[str, ...]]:
    uv, folder = str(Path(sys.executable).with_name("uv")), str(ROOT / LITELLM)
    return [
        (uv, "venv", "--quiet", "--allow-existing", folder),
        (uv, "pip", "install", "--quiet", "--python", f"{folder}/bin/python", "litellm[proxy]"),
    ]


def _portkey_installation() -> list[tuple[str, ...]]:
    npm = shutil.which("npm")
    if npm is None:
        raise NotRunnableError("npm is not installed")
    (ROOT / PORTKEY / "package.json").write_text(json.dumps({"private": True, "overrides": PORTKEY_OVERRIDES}))
    command = (npm, "install", "--no-audit", "--no-fund", "--silent")
    return [(*command, "--prefix", str(ROOT / PORTKEY), "@portkey-ai/gateway")]


_INSTALLATION: dict[str, Callable[[], list[tuple[str, ...]]]] = {
    LITELLM: _litellm_installation,
    PORTKEY: _portkey_installation,
}


async def _run(name: str, command: tuple[str, ...]) -> None:
    """With our own environment: it says where packages come from."""
    log = ROOT / "logs" / f"install-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    program = Program(name=name, command=command, environment=dict(os.environ), log=log)
    try:
        code, _ = await run_to_end(program, INSTALL_S)
    except (OSError, TimeoutError) as error:
        raise NotRunnableError(f"{name} cannot be installed: {error!r}") from error
    if code:
        raise NotRunnableError(f"{name} cannot be installed; {log}:\n{log_tail(log)}")
