"""`rebootml batch …`: sends a batch, watches it and fetches its results, over HTTP, as the account itself."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from deploy.cli.command import Answer, add_command
from deploy.cli.download import download
from deploy.cli.estimate import estimate
from deploy.cli.service import Service, Unreachable, connected
from shared.errors import Conflict, PermissionDenied, Unavailable
from shared.ids import new_id

WATCH_EVERY_S = 1.0
FAILURES_MAX = 30
"""The failed looks in a row after which watching gives up: front doors are replaced and stores restarted while a batch
runs.
"""
UNSUCCESSFUL = {"failed", "expired", "cancelled"}
UNANSWERED = ("failed", "cancelled", "expired")
"""Counts of a batch's lines that ended without an answer."""
ERRORS_SHOWN_MAX = 10
BatchCommand = Callable[[argparse.Namespace, Service], Awaitable[Answer]]


async def over_http(run: BatchCommand, arguments: argparse.Namespace, run_json: Mapping[str, Any]) -> Answer:
    """Carry out one of `COMMANDS`. Raises `RebootError`s and `SettingsError`."""
    async with connected(arguments.url, run_json) as service:
        return await run(arguments, service)


def add_commands(group: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the commands `submit`, `show` and `results`."""
    text = "send a file of lines, each a request with its custom_id; exit status 1 when one was not understood"
    submit = add_command(group, "submit", _submit, text)
    submit.add_argument("file", type=_file)
    submit.add_argument(
        "--flex",
        action="store_true",
        help="at the service tier flex: slower, at a lower price, which is estimated first",
    )
    show = add_command(group, "show", _show, "a batch's state and counts")
    show.add_argument("id")
    results = add_command(group, "results", _results, "a batch's results, in the order of its lines")
    results.add_argument("id")
    results.add_argument("--output", type=Path, metavar="FILE", help="goes on with a file that broke off; else stdout")
    for parser in (submit, show, results):
        parser.add_argument("--url", help="of the service; else REBOOTML_URL, else that of `make run`")
    for parser in (submit, show):
        parser.add_argument(
            "--watch", action="store_true", help="until it ends; exit status 1 unless all of it is answered"
        )


async def _submit(arguments: argparse.Namespace, service: Service) -> Answer:
    key, flex = new_id("submit"), arguments.flex
    estimated = await _estimated(arguments, service) if flex else {}
    try:
        batch = await service.submit(arguments.file, key, flex=flex)
    except Unreachable:
        batch = await service.submit(arguments.file, key, flex=flex)  # the same key repeats the same batch
    answer = await _watched(arguments, service, batch)
    return answer._replace(data=answer.data | estimated)


async def _estimated(arguments: argparse.Namespace, service: Service) -> dict[str, Any]:
    """The estimated cost of the file, shown to people before it is sent; empty if the key may not read prices."""
    try:
        models = await service.models()
    except PermissionDenied:
        return {}
    found = estimate(arguments.file, models)
    if not arguments.as_json:
        left_out = f"; {found.left_out} lines are not counted" if found.left_out else ""
        said = f"about {found.flex_usd} USD at flex, {found.default_usd} USD without, for {found.counted} lines"
        sys.stderr.write(f"estimate: {said}{left_out}\n")
    return {"estimate": msgspec.structs.asdict(found)}


async def _show(arguments: argparse.Namespace, service: Service) -> Answer:
    batch = await service.batch(arguments.id)
    return await _watched(arguments, service, batch) if arguments.watch else Answer(batch, shown=_for_people(batch))


async def _results(arguments: argparse.Namespace, service: Service) -> Answer:
    batch = await service.batch(arguments.id)
    if arguments.output is None:
        await _write_out(service, arguments.id, as_json=arguments.as_json)
        return Answer(None)
    try:
        lines = await download(service, batch, arguments.output)
    except OSError as error:
        raise Conflict(f"{arguments.output} cannot be written: {error.strerror}.") from error
    whole = bool(batch["ended_at"]) and lines == batch["counts"]["total"]
    return Answer({"id": batch["id"], "output": str(arguments.output), "lines": lines, "complete": whole})


COMMANDS: tuple[BatchCommand, ...] = (_submit, _show, _results)


async def _watched(arguments: argparse.Namespace, service: Service, batch: dict[str, Any]) -> Answer:
    """The batch, at its end if the command waits for that. Only the answer to the upload names the lines that were not
    understood.
    """
    errors = batch.get("errors")
    if arguments.watch:
        batch = await _until_ended(service, batch)
    if errors:
        batch = {**batch, "errors": errors}
    unanswered = errors or (arguments.watch and _unanswered(batch))
    failed = bool(unanswered) or batch["state"] in UNSUCCESSFUL
    return Answer(batch, status=int(failed), shown=_for_people(batch))


async def _until_ended(service: Service, batch: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end of the batch; a terminal shows a progress bar."""
    failures = 0
    with tqdm(desc=batch["id"], total=batch["counts"]["total"], unit="line", disable=None, dynamic_ncols=True) as bar:
        _advance(bar, batch)
        while batch["ended_at"] is None:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                batch, failures = await service.batch(batch["id"]), 0
            except (Unreachable, Unavailable):
                failures += 1
                if failures > FAILURES_MAX:
                    raise
            _advance(bar, batch)
    return batch


def _unanswered(batch: dict[str, Any]) -> int:
    """Lines that ended without an answer, including those that were not understood."""
    return sum(batch["counts"][name] for name in UNANSWERED)


def _advance(bar: tqdm[Any], batch: dict[str, Any]) -> None:
    failed = _unanswered(batch)
    waits = f", waits: {batch['paused_for']}" if batch["paused_for"] else ""
    bar.set_postfix_str(f"{failed} failed, {batch['charged_usd']} USD{waits}", refresh=False)
    bar.update(batch["counts"]["completed"] + failed - bar.n)
    bar.refresh()


async def _write_out(service: Service, batch_id: str, *, as_json: bool) -> None:
    """Write the results as lines or as one JSON array, with only a piece in memory."""
    out, between = sys.stdout.buffer, b"[" if as_json else b""
    async for chunk in service.results(batch_id):
        if as_json:
            ends = chunk.endswith(b"\n")
            out.write(between + chunk.removesuffix(b"\n").replace(b"\n", b","))
            between = b"," if ends else b""
        else:
            out.write(chunk)
    if as_json:
        out.write(b"[]\n" if between == b"[" else b"]\n")
    out.flush()


def _for_people(batch: dict[str, Any]) -> dict[str, Any]:
    counts = dict(batch["counts"])
    lines = f"{counts.pop('total')}: {', '.join(f'{number} {name}' for name, number in counts.items() if number)}"
    errors = [one["message"] for one in batch.get("errors", [])]
    more = [f"and {len(errors) - ERRORS_SHOWN_MAX} more"] if len(errors) > ERRORS_SHOWN_MAX else []
    shown = {**batch, "counts": lines.removesuffix(": ")}
    if unanswered := _unanswered(batch):
        shown["unanswered"] = f"{unanswered} of {batch['counts']['total']} lines; their results say why"
    return shown | ({"errors": [*errors[:ERRORS_SHOWN_MAX], *more]} if errors else {})


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text} is no file that can be read")
    return path
