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
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from msgspec.structs import asdict

from deploy.cli import batch as batch_cli
from deploy.cli.command import Answer
from deploy.cli.command import add_command as _command
from deploy.cli.command import add_group as _group
from deploy.cli.ledger_check import check_ledger
from deploy.cli.price_check import check_prices
from deploy.cli.values import expiry, grace, rpm, scopes, usd, usd_change
from shared.catalogue.listing import facts_of
from shared.catalogue.models import load_catalogue
from shared.errors import RebootError
from shared.json_lines import json_line
from shared.ledger import accounts
from shared.ledger import api_keys as credentials
from shared.ledger.api_keys import KeyRules, NewKey
from shared.money import NanoUsd
from shared.settings import Settings, SettingsError
from shared.stores import migrations, postgres
from shared.stores.migrations import MigrationError, migrate

INTERRUPTED = 130
Command = Callable[[argparse.Namespace, asyncpg.Pool], Awaitable[Answer]]


def main() -> None:
    """Entry point of the `rebootml` script."""
    words = [word for word in sys.argv[1:] if word != "--json"]
    parser = _parser()
    if words[:1] != ["batch"] and not all(map(_is_text, words)):  # the name of a file may be any bytes
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
    _print(answer, as_json=arguments.as_json)
    sys.exit(answer.status)


def _is_text(word: str) -> bool:
    """Whether it can be stored: what is not UTF-8 Python gives as halves of surrogate pairs."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json and answer.data is not None:
        print(json_line(answer.data).decode())
    elif answer.data is not None:
        print(_for_people(answer.data if answer.shown is None else answer.shown))


async def _run(arguments: argparse.Namespace) -> Answer:
    run: Any = arguments.run
    if run == _models:
        return _models(_catalogue_settings())
    if run == check_prices:
        return check_prices(arguments, _catalogue_settings())
    if run in batch_cli.COMMANDS:
        return await batch_cli.over_http(run, arguments, _run_json())
    settings = Settings.load(_environment())
    if run == _migrate:
        return await _migrate_now(settings)
    pool = await postgres.connect(settings, application="rebootml-cli")
    try:
        await migrations.require_migrated(pool)
        command: Command = run
        return await command(arguments, pool)
    finally:
        await pool.close()


def _environment() -> dict[str, str]:
    """The environment, filled up from `run.json`; this command needs no Redis."""
    environment = dict(os.environ)
    if not environment.get("DATABASE_URL"):
        run = _run_json()
        if not run:
            raise SettingsError(
                f"DATABASE_URL is not set and {_run_json_path()} is not there: set it, or start `make run`"
            )
        environment |= {"DATABASE_URL": run["database_url"], "REDIS_URL": run["redis_url"]}
    environment.setdefault("REDIS_URL", "redis://localhost:6379/0")
    return environment


def _run_json_path() -> Path:
    return Path(os.environ.get("DATA_DIR", ".data")) / "run.json"


def _run_json() -> dict[str, Any]:
    """What a running `make run` says of itself; empty when there is none."""
    try:
        run = json.loads(_run_json_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


async def _migrate_now(settings: Settings) -> Answer:
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
    catalogue = load_catalogue(
        settings.catalogue_overlay, settings.price_factor, use_successors=settings.use_successors
    )
    return Answer(
        [asdict(facts_of(catalogue, model)) | {"upstream": model.upstream, "api": model.api} for model in catalogue]
    )


def _catalogue_settings() -> Settings:
    """The catalogue needs neither Postgres nor Redis."""
    return Settings.load({"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://", **os.environ})


async def _account_create(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer((await accounts.create_account(pool, arguments.name, arguments.credit)).public())


async def _account_show(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer((await accounts.find_account(pool, arguments.id)).public())


async def _account_list(_: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer([account.public() for account in await accounts.list_accounts(pool)])


async def _account_credit(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    account = await accounts.credit_account(pool, arguments.id, arguments.usd, ref=arguments.ref, note=arguments.note)
    return Answer(account.public())


async def _key_create(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    rules = KeyRules(
        name=arguments.name,
        scopes=arguments.scope,
        rpm=arguments.rpm,
        limit=arguments.limit,
        expires_at=arguments.expires,
        strict=arguments.strict,
    )
    return _new_key(await credentials.create_key(pool, arguments.account_id, rules))


async def _key_list(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    await accounts.find_account(pool, arguments.account_id)
    return Answer([key.row() for key in await credentials.list_keys(pool, arguments.account_id)])


async def _key_revoke(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return Answer((await credentials.revoke_key(pool, arguments.key_id)).row())


async def _key_rotate(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return _new_key(await credentials.rotate_key(pool, arguments.key_id, arguments.grace))


def _new_key(new: NewKey) -> Answer:
    return Answer({"key_id": new.key_id, "key": new.key})


async def _ledger_check(_: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    report = await check_ledger(pool)
    return Answer(report, 0 if report.ok else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rebootml", description="Operate accounts, keys, ledger and catalogue.")
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on stdout; may stand anywhere on the line"
    )
    groups = parser.add_subparsers(required=True, metavar="command")
    _command(groups, "migrate", _migrate, "apply what is missing of the database's migrations")
    _add_model_commands(_command(groups, "models", _models, "the catalogue as it is in force"))
    _add_account_commands(_group(groups, "account", "accounts and their credit"))
    _add_key_commands(_group(groups, "key", "API keys"))
    batch_cli.add_commands(_group(groups, "batch", "batches of the account that the API key is for"))
    _command(_group(groups, "ledger", "the ledger"), "check", _ledger_check, "prove that the books balance")
    return parser


def _add_model_commands(models: argparse.ArgumentParser) -> None:
    check = _command(
        models.add_subparsers(metavar="command"), "check", check_prices, "its prices beside another list's"
    )
    check.add_argument(
        "file", type=Path, help="LiteLLM's model_prices_and_context_window.json, or genai-prices' data.json"
    )
    check.add_argument("--accept", type=Path, metavar="FILE", help="differences that are known, each with its reason")


def _add_account_commands(group: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    create = _command(group, "create", _account_create, "a new account")
    create.add_argument("name")
    create.add_argument("--credit", type=usd, default=NanoUsd(0), metavar="USD")
    _command(group, "show", _account_show, "one account").add_argument("id")
    _command(group, "list", _account_list, "every account")
    credit = _command(group, "credit", _account_credit, "add credit, or take it back with a negative amount")
    credit.add_argument("id")
    credit.add_argument("usd", type=usd_change, metavar="USD")
    credit.add_argument("--note")
    credit.add_argument("--ref", help="the same reference again credits once")


def _add_key_commands(group: Any) -> None:  # noqa: ANN401
    create = _command(group, "create", _key_create, "a new key, shown this once")
    create.add_argument("account_id")
    create.add_argument("--name", default="")
    create.add_argument("--rpm", type=rpm, help="requests per minute")
    create.add_argument("--limit", type=usd, metavar="USD", help="what the key may spend in all")
    create.add_argument(
        "--scope", type=scopes, default=("inference", "read"), help="comma list of inference, read, manage"
    )
    create.add_argument("--expires", type=expiry, help="a moment such as 2027-01-31T12:00:00Z, or 30d from now")
    create.add_argument("--strict", action="store_true", help="refuse what would be left out of a request")
    _command(group, "list", _key_list, "an account's keys").add_argument("account_id")
    _command(group, "revoke", _key_revoke, "refuse a key from now on").add_argument("key_id")
    rotate = _command(group, "rotate", _key_rotate, "a new key with the same rules; the old one ends after --grace")
    rotate.add_argument("key_id")
    rotate.add_argument(
        "--grace",
        type=grace,
        default=timedelta(0),
        help="such as 24h; a spending limit moves at once",
    )


def _for_people(data: Any) -> str:  # noqa: ANN401 - any JSON document
    builtins = msgspec.to_builtins(data, builtin_types=(msgspec.Raw,))
    rows = builtins if isinstance(builtins, list) else [builtins]
    return "\n\n".join("\n".join(f"{name:<30}{_plain(value)}" for name, value in row.items()) for row in rows) or "none"


def _plain(value: object) -> str:
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, dict) and all(isinstance(on, bool) for on in value.values()):
        return ", ".join(name for name, on in value.items() if on)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value) or "none"
    return "-" if value is None else str(value)
