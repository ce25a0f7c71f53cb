"""`rebootml`: the operators' command. Exit status 0 done, 1 refused or violated, 2 wrong usage.

It reads `DATABASE_URL` from the environment, else from `DATA_DIR/run.json` of a running `make run`. Batches are what an
account does itself, so those commands speak HTTP, with `REBOOTML_URL` and `REBOOTML_API_KEY`, else those of `run.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
from msgspec.structs import asdict

from deploy.cli import batch as batch_cli
from deploy.cli.accounts import add_account_commands, add_key_commands
from deploy.cli.command import Answer
from deploy.cli.command import add_command as _command
from deploy.cli.command import add_group as _group
from deploy.cli.operators import add_audit_commands, add_operator_commands
from deploy.cli.price_check import check_prices
from deploy.cli.routing import add_queue_commands, add_worker_commands
from deploy.cli.size import add_database_commands
from deploy.cli.tables import for_people
from deploy.cli.top.command import add_top_command
from deploy.cli.upstreams import add_upstream_commands
from shared.catalogue.listing import facts_of
from shared.catalogue.models import Catalogue, Model, load_catalogue
from shared.errors import RebootError
from shared.json_lines import json_line
from shared.ledger.check import check_ledger
from shared.settings import Settings, SettingsError
from shared.stores import migrations, postgres
from shared.stores.migrations import MigrationError, migrate

INTERRUPTED = 130
MODEL_COLUMNS = {
    "name": "name",
    "input_usd": "input_usd_per_mtok",
    "output_usd": "output_usd_per_mtok",
    "context": "context_window",
    "output_max": "max_output_tokens",
}
"""Columns of the catalogue that people see; `models show` has all fields."""
MORE_PRICES = ("long_context", "flex", "off_peak", "price_changes")
Command = Callable[[argparse.Namespace, asyncpg.Pool], Awaitable[Answer]]


def main() -> None:
    """Entry point of the `rebootml` script."""
    words = [word for word in sys.argv[1:] if word != "--json"]
    parser = _parser()
    # batch commands take file names, which may be any bytes
    if words[:1] != ["batch"] and not all(map(_is_text, words)):
        parser.error("a word of the line is not in UTF-8")
    arguments = parser.parse_args(words)
    arguments.as_json = len(words) < len(sys.argv[1:])
    try:
        answer = asyncio.run(_run(arguments))
    except (RebootError, SettingsError, MigrationError) as error:
        print(f"rebootml: {error}", file=sys.stderr)
        sys.exit(1)
    except postgres.UNREACHABLE as error:
        print(f"rebootml: Postgres cannot be reached ({type(error).__name__}): check DATABASE_URL", file=sys.stderr)
        sys.exit(1)
    except asyncpg.PostgresError as error:
        print(f"rebootml: Postgres refused: {error} ({type(error).__name__})", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    try:
        _print(answer, as_json=arguments.as_json)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(answer.status)


def _is_text(word: str) -> bool:
    """True if the word can be stored: Python decodes invalid UTF-8 as lone surrogates."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json and answer.data is not None:
        print(json_line(answer.data).decode())
    elif answer.data is not None:
        print(for_people(answer.data if answer.shown is None else answer.shown))


async def _run(arguments: argparse.Namespace) -> Answer:
    run: Any = arguments.run
    if run == _models:
        return _models(_catalogue_settings())
    if run == _model:
        return _model(arguments.name, _catalogue_settings())
    if run == check_prices:
        return check_prices(arguments, _catalogue_settings())
    if run in batch_cli.COMMANDS:
        return await batch_cli.over_http(run, arguments, _run_json())
    settings = Settings.load(_environment())
    if run == _migrate:
        return await _migrate_now(settings, arguments.wait)
    pool = await postgres.connect(settings, application="rebootml-cli")
    try:
        await migrations.require_migrated(pool)
        command: Command = run
        arguments.settings = settings
        return await command(arguments, pool)
    finally:
        await pool.close()


def _environment() -> dict[str, str]:
    """The environment, completed from `run.json`. Most commands need no Redis."""
    environment = dict(os.environ)
    if not (environment.get("DATABASE_URL") or environment.get("DATABASE_URL_FILE")):
        run = _run_json()
        if not run:
            raise SettingsError(
                f"DATABASE_URL is not set and {_run_json_path()} is not there: set it, or start `make run`"
            )
        environment |= {"DATABASE_URL": run["database_url"], "REDIS_URL": run["redis_url"]}
    if not environment.get("REDIS_URL_FILE"):
        environment.setdefault("REDIS_URL", "redis://localhost:6379/0")
    return environment


def _run_json_path() -> Path:
    return Path(os.environ.get("DATA_DIR", ".data")) / "run.json"


def _run_json() -> dict[str, Any]:
    """The document of a running `make run`; empty if there is none."""
    try:
        run = json.loads(_run_json_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


async def _migrate_now(settings: Settings, wait_s: float | None) -> Answer:
    if wait_s is not None:
        await migrations.wait_migrated(settings.database_url, within_s=wait_s)
        return Answer({"applied": []})

    def tell(who: str) -> None:
        print(f"rebootml: waiting for a lock that {who} has; traffic goes on", file=sys.stderr)

    applied = await migrate(
        settings.database_url,
        lock_timeout_s=settings.ddl_lock_timeout_s,
        within_s=settings.ddl_within_s,
        on_wait=tell,
    )
    return Answer({"applied": applied})


async def _migrate(_: argparse.Namespace, __: asyncpg.Pool) -> Answer:
    raise AssertionError("migrations run before there is a pool")


def _models(settings: Settings) -> Answer:
    catalogue = _catalogue(settings)
    rows = [_facts(catalogue, model) for model in catalogue]
    return Answer(rows, shown=[_brief(row) for row in rows])


def _model(name: str, settings: Settings) -> Answer:
    catalogue = _catalogue(settings)
    return Answer(_facts(catalogue, catalogue.find(name)))


def _catalogue(settings: Settings) -> Catalogue:
    return load_catalogue(settings.catalogue_overlay, settings.price_factor, use_successors=settings.use_successors)


def _facts(catalogue: Catalogue, model: Model) -> dict[str, Any]:
    return asdict(facts_of(catalogue, model)) | {"upstream": model.vendor_model, "api": model.api}


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    told = {title: row[name] for title, name in MODEL_COLUMNS.items()}
    until = "since" if row["lifecycle"] == "retired" else "until"
    ends = f" {until} {row['ends_on']}" if row["ends_on"] else ""
    more = [name for name in MORE_PRICES if row[name]] or None
    told |= {"lifecycle": row["lifecycle"] + ends, "more_prices": more}
    return told | {name: row[name] for name in ("api", "upstream", "aliases")}


def _catalogue_settings() -> Settings:
    """Settings for commands that read the catalogue and need neither Postgres nor Redis."""
    stores = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://", "DATABASE_URL_FILE": "", "REDIS_URL_FILE": ""}
    return Settings.load({**os.environ, **stores})


async def _ledger_check(_: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    report = await check_ledger(pool)
    return Answer(report, 0 if report.ok else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rebootml", description="Operate the service: money, access, routing and catalogue."
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on stdout; may stand anywhere on the line"
    )
    groups = parser.add_subparsers(required=True, metavar="command")
    migrate_command = _command(groups, "migrate", _migrate, "apply what is missing of the database's migrations")
    migrate_command.add_argument(
        "--wait", type=float, metavar="SECONDS", help="apply nothing: wait until another process has applied all"
    )
    _add_model_commands(_command(groups, "models", _models, "the catalogue as it is in force"))
    add_account_commands(_group(groups, "account", "accounts and their credit"))
    add_key_commands(_group(groups, "key", "API keys"))
    add_operator_commands(_group(groups, "operator", "operators and the tokens of their API"))
    add_audit_commands(_group(groups, "audit", "the audit log"))
    add_queue_commands(_group(groups, "queue", "the queues of each provider"))
    add_worker_commands(_group(groups, "worker", "the workers"))
    add_top_command(groups)
    add_upstream_commands(_group(groups, "upstream", "keys, addresses and regions of vendors"))
    add_database_commands(_group(groups, "db", "the database"))
    batch_cli.add_commands(_group(groups, "batch", "batches of the account that the API key is for"))
    _command(_group(groups, "ledger", "the ledger"), "check", _ledger_check, "prove that the books balance")
    return parser


def _add_model_commands(models: argparse.ArgumentParser) -> None:
    groups = models.add_subparsers(metavar="command")
    _command(groups, "show", _model, "all that is known of one model").add_argument("name")
    check = _command(groups, "check", check_prices, "its prices beside another list's")
    check.add_argument(
        "file", type=Path, help="LiteLLM's model_prices_and_context_window.json, or genai-prices' data.json"
    )
    check.add_argument("--accept", type=Path, metavar="FILE", help="differences that are known, each with its reason")
