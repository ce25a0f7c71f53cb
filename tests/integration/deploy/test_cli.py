"""`rebootml` as an operator runs it: the installed command, its JSON, its exit status, and what it says to wrong usage."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.cli.cli import main
from shared.ledger.api_keys import split_key
from shared.stores.migrations import migrations
from shared.stores.sql_functions import function_files
from tests.integration.conftest import execute

COMMAND = Path(sys.executable).with_name("rebootml")
NAMES = [f"{migration.version:04d}_{migration.title}" for migration in migrations()] + [
    f"functions/{file.name} revision {file.revision}" for file in function_files()
]
DONE, REFUSED, WRONG_USAGE = 0, 1, 2
ACCOUNT_FIELDS = {"account_id", "name", "balance_usd", "held_usd", "available_usd"}


class Ran(NamedTuple):
    status: int
    out: str
    err: str


class Cli:
    """Runs the command in an empty folder, with these variables and nothing else of ours. It runs within this process,
    because its start takes longer than what it does; `installed` runs what an operator has.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {"PATH": os.defpath, **environment}

    def __call__(self, *words: str) -> Ran:
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads:  # a thread has no event loop yet
            patch.chdir(self.folder)
            patch.setattr(os, "environ", dict(self.environment))
            patch.setattr(sys, "argv", ["rebootml", *words])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            ended = threads.submit(main).exception(timeout=60)
        assert isinstance(ended, SystemExit), repr(ended)
        assert isinstance(ended.code, int)
        return Ran(ended.code, _written(out), _written(err))

    def installed(self, *words: str) -> Ran:
        ran = subprocess.run(
            [COMMAND, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def json(self, *words: str, status: int = DONE) -> Any:
        """The one document that `--json` prints, and nothing else anywhere."""
        ran = self(*words, "--json")
        assert (ran.status, ran.err) == (status, ""), ran
        return json.loads(ran.out)

    def new_account(self, usd: str = "0") -> str:
        return str(self.json("account", "create", "someone", "--credit", usd)["account_id"])


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    return Cli(tmp_path, DATABASE_URL=database_url)


@pytest.fixture(scope="module")
def account(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Cli(tmp_path_factory.mktemp("cli"), DATABASE_URL=database_url).new_account()


# -- migrate


async def test_migrate_says_what_it_applied_and_a_second_time_nothing(empty_database_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=empty_database_url)
    refused = cli("account", "list")
    assert (refused.status, refused.out) == (REFUSED, "")
    assert "rebootml migrate" in refused.err
    assert cli("migrate", "--wait", "0.1").status == REFUSED
    assert cli.json("migrate") == {"applied": NAMES}
    assert cli.json("migrate") == {"applied": []}
    assert cli("migrate", "--wait", "0.1").status == DONE
    assert cli.json("account", "list") == []


# -- accounts


def test_an_account_is_created_shown_and_listed(cli: Cli) -> None:
    account = cli.json("account", "create", "Müller & Söhne", "--credit", "12.50")
    assert set(account) == ACCOUNT_FIELDS
    assert (account["name"], account["balance_usd"], account["held_usd"]) == ("Müller & Söhne", "12.5", "0")
    assert cli.json("account", "show", account["account_id"]) == account
    assert account in cli.json("account", "list")


def test_credit_is_added_and_with_a_minus_taken_back_but_never_below_nothing(cli: Cli) -> None:
    account = cli.new_account("1")
    assert cli.json("account", "credit", account, "25", "--note", "invoice")["balance_usd"] == "26"
    assert cli.json("account", "credit", account, "-5")["balance_usd"] == "21"
    assert cli.json("account", "credit", account, "-0.000000001")["balance_usd"] == "20.999999999"
    refused = cli("account", "credit", account, "-21")
    assert (refused.status, refused.out) == (REFUSED, "")
    assert cli.json("account", "show", account)["balance_usd"] == "20.999999999"


def test_the_same_reference_credits_once(cli: Cli) -> None:
    account = cli.new_account()
    for _ in range(2):
        answer = cli.json("account", "credit", account, "25", "--ref", "invoice-1")
        assert (set(answer), answer["balance_usd"]) == (ACCOUNT_FIELDS, "25")


# -- keys


def test_a_key_is_shown_once_and_listed_without_its_secret(cli: Cli) -> None:
    account = cli.new_account()
    new = cli.json("key", "create", account)
    assert set(new) == {"key_id", "key"}
    assert split_key(new["key"])[0] == new["key_id"]
    listed = cli("key", "list", account, "--json")
    assert split_key(new["key"])[1] not in listed.out
    (row,) = json.loads(listed.out)
    assert (row["key_id"], row["scopes"], row["rpm"], row["limit_usd"]) == (
        new["key_id"],
        ["inference", "read"],
        None,
        None,
    )


def test_a_keys_rules_come_from_the_line(cli: Cli) -> None:
    account = cli.new_account()
    rules = ["--name", "ci", "--rpm", "60", "--limit", "2.5", "--scope", "read, manage", "--expires", "2099-01-31"]
    cli.json("key", "create", account, *rules)
    (row,) = cli.json("key", "list", account)
    assert (row["name"], row["rpm"], row["limit_usd"], row["scopes"]) == ("ci", 60, "2.5", ["read", "manage"])
    assert datetime.fromisoformat(row["expires_at"]) == datetime(2099, 1, 31, tzinfo=UTC)


def test_an_expiry_may_be_a_time_from_now(cli: Cli) -> None:
    account = cli.new_account()
    before = datetime.now(UTC)
    cli.json("key", "create", account, "--expires", "30d")
    (row,) = cli.json("key", "list", account)
    life = datetime.fromisoformat(row["expires_at"]) - before
    assert timedelta(days=30) <= life < timedelta(days=30, minutes=5)


def test_a_revoked_key_says_since_when_also_where_all_of_it_is_given_and_nothing_repeats_that(cli: Cli) -> None:
    account = cli.new_account()
    new = cli.json("key", "create", account)
    refused = cli("key", "revoke", f"{new['key']}x")
    assert (refused.status, new["key"].split("_")[2][:32] in refused.err) == (REFUSED, False)
    revoked = cli.json("key", "revoke", new["key"])
    assert (revoked["key_id"], revoked["revoked_at"] is None) == (new["key_id"], False)
    assert cli.json("key", "revoke", new["key_id"]) == revoked
    assert cli.json("key", "list", account)[0]["revoked_at"] is not None


def test_a_rotated_key_is_new_and_the_old_one_ends_after_the_grace(cli: Cli) -> None:
    account = cli.new_account()
    old = cli.json("key", "create", account, "--name", "ci")["key_id"]
    new = cli.json("key", "rotate", old, "--grace", "24h")
    assert set(new) == {"key_id", "key"}
    rows = {row["key_id"]: row for row in cli.json("key", "list", account)}
    assert (set(rows), rows[new["key_id"]]["name"]) == ({old, new["key_id"]}, "ci")
    assert datetime.fromisoformat(rows[old]["expires_at"]) > datetime.now(UTC) + timedelta(hours=23)


# -- ledger check, models


async def test_a_broken_ledger_is_named_with_exit_status_1(fresh_database_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=fresh_database_url)
    account = cli.new_account("5")
    assert cli.json("ledger", "check") == {
        "ok": True,
        "violations": [],
        "accounts": 1,
        "requests": 0,
        "tier_losses_usd": "0",
        "upstreams": [],
    }
    await execute(fresh_database_url, "UPDATE accounts SET balance_nano = balance_nano + 1")
    report = cli.json("ledger", "check", status=REFUSED)
    assert report["ok"] is False
    assert report["violations"] == [f"balance is sum of entries: {account}: balance 5000000001, entries 5000000000"]


def test_models_lists_the_catalogue_in_force_and_needs_no_database(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text('[[model]]\nname = "openai-gpt-4o"\nupstream = "gpt-9"\n', encoding="utf-8")
    assert len(Cli(tmp_path).json("models")) == 111
    rows = Cli(tmp_path, CATALOGUE=str(overlay), PRICE_FACTOR="2").json("models")
    (changed,) = [row for row in rows if row["name"] == "openai-gpt-4o"]
    assert (changed["upstream"], changed["input_usd_per_mtok"]) == ("gpt-9", 5)


def test_models_shows_all_of_a_price(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.toml"
    row = '[[model]]\nname = "openai-gpt-4o"\nlong_context = { above = 9, input = 3, output = 4, cached = 1 }\n'
    row += "price_changes = [{ from = 2999-01-01, input = 5 }]\n"
    overlay.write_text(row, encoding="utf-8")
    cli = Cli(tmp_path, CATALOGUE=str(overlay))
    (changed,) = [row for row in cli.json("models") if row["name"] == "openai-gpt-4o"]
    assert changed["long_context"]["above_tokens"] == 9
    assert changed["price_changes"][0]["from"] == "2999-01-01"
    assert cli.json("models", "show", "gpt-4o") == changed
    (line,) = [line for line in cli("models").out.splitlines() if line.startswith("openai-gpt-4o ")]
    assert "long_context, price_changes" in line
    shown = cli("models", "show", "openai-gpt-4o").out
    assert "long_context                  input_usd_per_mtok 3, output_usd_per_mtok 4," in shown
    assert "from 2999-01-01" in shown


def test_models_shows_who_serves_where_successors_are_in_use(tmp_path: Path) -> None:
    def row(**environment: str) -> Any:
        rows = Cli(tmp_path, **environment).json("models")
        return next(row for row in rows if row["name"] == "anthropic-claude-2-1")

    assert (row()["successor"], row()["replaced_by"]) == (None, "anthropic-claude-sonnet-4-6")
    assert row(USE_SUCCESSORS="1")["successor"] == "anthropic-claude-sonnet-4-6"


LISTED = {
    "amazon.nova-lite-v1:0": {
        "litellm_provider": "bedrock_converse",
        "input_cost_per_token": 6e-08,
        "output_cost_per_token": 3e-07,
        "cache_read_input_token_cost": 1.5e-08,
    }
}
ACCEPTED = """
[[accept]]
name = "amazon-nova-lite"
field = "output"
reason = "made up"
"""


def test_models_check_tells_what_differs_from_a_list_of_prices(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text(json.dumps(LISTED), encoding="utf-8")
    (tmp_path / "accepted.toml").write_text(ACCEPTED, encoding="utf-8")
    cli = Cli(tmp_path)
    found = cli.json("models", "check", "prices.json", status=REFUSED)
    assert {"name": "amazon-nova-lite", "field": "output", "ours": 0.24, "theirs": 0.3} in found
    assert {"name": "openai-gpt-4o", "field": "model", "ours": "gpt-4o-2024-08-06", "theirs": None} in found
    missing = [row["name"] for row in found if row["field"] == "model"]
    overlay = "".join(f'[[model]]\nname = "{name}"\nlifecycle = "retired"\n' for name in missing)
    (tmp_path / "overlay.toml").write_text(overlay, encoding="utf-8")
    only = Cli(tmp_path, CATALOGUE="overlay.toml")
    told = only("models", "check", "prices.json")
    lines = [line.split(maxsplit=1) for line in told.out.splitlines()[1:]]
    assert (told.status, lines) == (REFUSED, [["amazon-nova-lite", "output: 0.24 here, 0.3 there: cheaper here"]])
    assert only.json("models", "check", "prices.json", "--accept", "accepted.toml") == []
    for words in (("nowhere.json",), ("prices.json", "--accept", "nowhere.toml"), ("accepted.toml",)):
        refused = cli("models", "check", *words)
        assert (refused.status, refused.out) == (REFUSED, ""), words
        assert refused.err.startswith("rebootml: ")
    assert cli("models", "check").status == WRONG_USAGE


# -- how it speaks


@pytest.mark.parametrize("position", [0, 1, 3])
def test_json_may_stand_anywhere_on_the_line(cli: Cli, position: int) -> None:
    words = ["account", "create", "someone"]
    ran = cli(*words[:position], "--json", *words[position:])
    assert (ran.status, set(json.loads(ran.out))) == (DONE, ACCOUNT_FIELDS)


def test_without_json_a_person_can_read_it(cli: Cli) -> None:
    ran = cli("account", "create", "someone", "--credit", "5")
    assert ran.status == DONE
    assert "balance_usd" in ran.out
    assert not ran.out.startswith("{")
    assert cli("key", "list", cli.new_account()).out == "none\n"
    assert cli("models").status == DONE


@pytest.mark.parametrize(
    "words",
    [
        ("account", "show", "acc_nobody"),
        ("account", "credit", "acc_nobody", "5"),
        ("account", "create", ""),
        ("account", "create", "x" * 201),
        ("key", "create", "acc_nobody"),
        ("key", "list", "acc_nobody"),
        ("key", "revoke", "nobody"),
        ("key", "rotate", "nobody"),
    ],
    ids=lambda words: " ".join(words)[:60].encode("ascii", "replace").decode(),
)
def test_what_cannot_be_done_is_refused_in_one_clear_line(cli: Cli, account: str, words: tuple[str, ...]) -> None:
    ran = cli(*(account if word == "ACCOUNT" else word for word in words), "--json")
    assert (ran.status, ran.out) == (REFUSED, "")
    assert ran.err.startswith("rebootml: ")
    assert ran.err.count("\n") == 1, ran.err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("account",),
        ("frobnicate",),
        ("account", "create"),
        ("account", "create", "a", "b"),
        ("account", "credit", "acc_x"),
        ("account", "credit", "acc_x", "five"),
        ("account", "credit", "acc_x", "1.0000000001"),
        ("account", "credit", "acc_x", "1e20"),
        ("account", "credit", "acc_x", "nan"),
        ("account", "credit", "acc_x", "0"),
        ("account", "credit", "acc_x", "1e9999999999999999999"),
        ("account", "credit", "acc_x", "-1000000000.000000001"),
        ("account", "create", "x", "--credit"),
        ("account", "create", "x", "--credit", "-5"),
        ("account", "create", "x", "--credit", "1000000001"),
        ("account", "create", "x", "--credit", "inf"),
        ("key", "create", "acc_x", "--rpm", "many"),
        ("key", "create", "acc_x", "--rpm", "0"),
        ("key", "create", "acc_x", "--rpm", "-1"),
        ("key", "create", "acc_x", "--rpm", "1.5"),
        ("key", "create", "acc_x", "--rpm", "10000001"),
        ("key", "create", "acc_x", "--rpm", "9" * 5_000),
        ("key", "create", "acc_x", "--rpm", "²"),
        ("key", "create", "acc_x", "--limit", "-1"),
        ("key", "create", "acc_x", "--limit", "1e10"),
        ("key", "create", "acc_x", "--limit", "nan"),
        ("key", "create", "acc_x", "--scope", "root"),
        ("key", "create", "acc_x", "--scope", ""),
        ("key", "create", "acc_x", "--expires", "soon"),
        ("key", "create", "acc_x", "--expires", "99999999999d"),
        ("key", "create", "acc_x", "--expires", "9999999d"),
        ("key", "create", "acc_x", "--expires", "36501d"),
        ("key", "create", "acc_x", "--expires", "0s"),
        ("key", "create", "acc_x", "--expires", "2020-01-01"),
        ("key", "create", "acc_x", "--expires", "0001-01-01T00:00:00+14:00"),
        ("key", "create", "acc_x", "--expires", "9999-12-31"),
        ("key", "create", "acc_x", "--expires", "9999-12-31T23:59:59-14:00"),
        ("key", "create", "acc_x", "--expires", "9" * 5_000 + "d"),
        ("key", "rotate", "key_x", "--grace", "-1h"),
        ("key", "rotate", "key_x", "--grace", "3651d"),
        ("key", "rotate", "key_x", "--grace", "4000000d"),
        ("key", "rotate", "key_x", "--grace", "99999999999d"),
        ("key", "rotate", "key_x", "--grace", "9" * 5_000),
        ("key", "rotate", "key_x", "--grace", "²h"),
        ("key", "rotate", "key_x", "--grace", ""),
        ("account", "create", "not utf-8: \udcff"),
        ("account", "show", "acc_\udcff"),
        ("account", "credit", "acc_x", "1", "--note", "\udced"),
        ("key", "create", "acc_x", "--name", "\udcff"),
        ("ledger", "balance"),
        ("models", "--colour"),
    ],
    ids=lambda words: " ".join(words)[:60].encode("ascii", "replace").decode(),
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rebootml", *words, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (WRONG_USAGE, "")
    assert err.splitlines()[-1].startswith("rebootml")
    assert "error: " in err.splitlines()[-1]


def test_what_is_beyond_its_bounds_is_named_and_nothing_is_written(cli: Cli) -> None:
    account = cli.new_account("5")
    key_id = cli.json("key", "create", account)["key_id"]
    before = cli.json("key", "list", account)
    for option, words in {
        "--grace": ("key", "rotate", key_id, "--grace", "4000000d"),
        "--expires": ("key", "create", account, "--expires", "4000000d"),
        "--rpm": ("key", "create", account, "--rpm", "10000001"),
        "--limit": ("key", "create", account, "--limit", "-1"),
        "usd": ("account", "credit", account, "1000000001"),
    }.items():
        ran = cli(*words)
        assert (ran.status, ran.out) == (WRONG_USAGE, "")
        assert option in ran.err.splitlines()[-1].lower()
        assert "Traceback" not in ran.err
    assert cli.json("key", "list", account) == before
    assert cli.json("account", "show", account)["balance_usd"] == "5"


def test_the_bounds_themselves_are_taken_and_can_be_read_again(cli: Cli) -> None:
    account = cli.new_account("1000000000")
    rules = ["--rpm", "10000000", "--limit", "1000000000", "--expires", "36499d"]
    for words in (rules, ["--rpm", "1", "--limit", "0", "--expires", "1h"]):
        cli.json("key", "create", account, *words)
    old = cli.json("key", "create", account)["key_id"]
    cli.json("key", "rotate", old, "--grace", "3650d")
    assert len(cli.json("key", "list", account)) == 4


def test_a_balance_that_could_not_be_counted_is_refused(cli: Cli) -> None:
    account = cli.new_account()
    for _ in range(9):
        cli.json("account", "credit", account, "1000000000")
    refused = cli("account", "credit", account, "1000000000")
    assert (refused.status, refused.err.count("\n")) == (REFUSED, 1)
    assert cli.json("account", "show", account)["balance_usd"] == "9000000000"


@pytest.mark.parametrize("words", [(), ("account",), ("key", "create"), ("ledger", "check")])
def test_help_is_there_for_every_command(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli.installed(*words, "--help")
    assert (ran.status, ran.err) == (DONE, "")
    assert "usage: rebootml" in ran.out


# -- where it looks


def test_it_finds_the_database_of_a_running_make_run(database_url: str, tmp_path: Path) -> None:
    run = {"url": "http://127.0.0.1:8080", "database_url": database_url, "redis_url": "redis://127.0.0.1:1"}
    for folder in (tmp_path / ".data", tmp_path / "elsewhere"):
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    assert json.loads(Cli(tmp_path).installed("account", "list", "--json").out) == Cli(tmp_path).json("account", "list")
    assert isinstance(Cli(tmp_path, DATA_DIR=str(tmp_path / "elsewhere")).json("account", "list"), list)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "DATABASE_URL"),
        ({"DATABASE_URL": "mysql://u:hunter2@h/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://h/x", "LEASE_S": "long"}, "LEASE_S"),
    ],
)
def test_a_missing_or_wrong_setting_is_named_in_one_line(
    tmp_path: Path, environment: dict[str, str], named: str
) -> None:
    ran = Cli(tmp_path, **environment).installed("account", "list", "--json")
    assert (ran.status, ran.out) == (REFUSED, "")
    assert ran.err.count("\n") == 1, ran.err
    assert named in ran.err
    assert "hunter2" not in ran.err
