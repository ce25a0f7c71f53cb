"""Calls made of the document itself, valid and invalid: whatever comes back must be documented."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest

from shared.ledger.api_keys import SCOPES, KeyRules
from shared.operators.operators import SCOPES as OPERATOR_SCOPES
from shared.operators.operators import create_operator, create_token
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster
from tests.harness.figures import SEED as PROOFS_SEED
from tests.harness.running import PROJECT
from tests.harness.support import eventually_true

LONG = bool(os.environ.get("PROOFS"))
SEED = PROOFS_SEED if LONG else os.environ.get("SEED", "1")
"""The same calls in every `make test`, others in every `make proofs`."""
BOUNDS = (
    ("--phases=examples,coverage,fuzzing,stateful", "--max-examples=150", "--max-time=300")
    if LONG
    else ("--phases=examples,fuzzing,stateful", "--max-examples=4")
)
FEW = ("--phases=examples,fuzzing", "--max-examples=2")
"""Without a time the number of calls is the same on every machine; the long run also tries each limit of each field."""
ENDS_WITHIN_S = 900
OUTPUT_SHOWN = 10_000
MODELS = (MODEL, "openai-gpt-4o", MODEL, "openai-o3-mini", "amazon-nova-lite", "no-such-model")
EXPLAINED = "amazon-nova-lite is not served here: no worker has its vendor's credentials."
"""The one failure that the cluster's state explains."""


async def test_whatever_is_called_the_answer_is_documented(
    new_caller: NewCaller, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caller = await new_caller(credit=100_000_000_000, rules=KeyRules(scopes=SCOPES))
    status, output = await schemathesis(caller.url("/openapi.json"), caller.key, tmp_path)
    answers = [(name, code, error, times) for name, code, error, times in json.loads(figures(tmp_path).read_text())]
    with capsys.disabled():
        sys.stdout.write(f"\n{summary(answers)}\n")
    assert status == 0, output
    assert all(error.startswith(EXPLAINED) for _, code, error, _ in answers if code >= 500)
    assert {code for _, code, _, _ in answers} >= {200, 400, 404, 503}
    assert (await caller.request("GET", "/api/account")).status == 200, "the key did not last for all of the calls"
    assert {name for name, code, _, _ in answers if code == 200} >= {"POST /api/endpoint", "GET /api/requests/{id}"}


async def test_whatever_an_operator_calls_the_answer_is_documented(
    new_caller: NewCaller, books: asyncpg.Pool, cluster: Cluster, tmp_path: Path
) -> None:
    caller = await new_caller()
    await create_operator(books, "fuzzer")
    token = (await create_token(books, "fuzzer", OPERATOR_SCOPES, None)).token
    await start_anew(cluster, cluster.doors, guesses_max=1_000_000)  # it also calls without a token
    try:
        bounds = BOUNDS if LONG else FEW
        status, output = await schemathesis(caller.url("/operator/openapi.json"), token, tmp_path, bounds)
    finally:
        await put_all_in_service_again(cluster, caller, books)
    assert status == 0, output


async def start_anew(cluster: Cluster, names: Iterable[str], guesses_max: int = 20) -> None:
    for name in tuple(names):
        await cluster.drain(name)
        cluster.start(name, OPERATOR_GUESSES_MAX=str(guesses_max))
    await cluster.ready()


async def put_all_in_service_again(cluster: Cluster, caller: Caller, books: asyncpg.Pool) -> None:
    """What was called has paused providers, and drained upstreams and workers, which others need."""
    await books.execute("DELETE FROM switched_off")
    await start_anew(cluster, (*cluster.doors, *cluster.workers))

    async def is_served() -> bool:
        return all([(await caller.chat(told(tokens=1))).status == 200 for _ in range(6)])

    await eventually_true(is_served, "all front doors have heard of it")


async def schemathesis(url: str, key: str, folder: Path, bounds: tuple[str, ...] = BOUNDS) -> tuple[int, str]:
    """Its exit status, and what it said."""
    program = Path(sys.executable).with_name("schemathesis")
    words = ("--config-file", str(PROJECT / "tests/e2e/schemathesis.toml"), "run", url, "--no-color")
    options = (
        f"--seed={zlib.crc32(SEED.encode())}",
        *bounds,
        "--suppress-health-check=too_slow",  # a busy machine is none of the API's faults
        "--workers=1",  # several threads at once run into a fault of Python 3.11's own parser
        f"--header=Authorization: Bearer {key}",
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "SCHEMATHESIS_HOOKS": "tests.e2e.fuzzing_hooks",
        "FUZZ_MODELS": " ".join(MODELS),
        "FUZZ_KEY_ID": key.split("_")[1],
        "FUZZ_FIGURES": str(figures(folder)),
    }
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        *options,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, output.decode()[-OUTPUT_SHOWN:]


def figures(folder: Path) -> Path:
    return folder / "figures.json"


def summary(answers: list[tuple[str, int, str, int]]) -> str:
    by_status: Counter[int] = Counter()
    for _, code, _, times in answers:
        by_status[code] += times
    counts = ", ".join(f"{code}: {times}" for code, times in sorted(by_status.items()))
    operations = len({name for name, *_ in answers})
    return f"fuzzing, seed {SEED}: {by_status.total()} calls of {operations} operations ({counts})"
