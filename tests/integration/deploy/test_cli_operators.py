"""`rebootml operator …` and `rebootml audit …` as they are run."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path

import pytest

from tests.integration.deploy.test_cli import DONE, REFUSED, WRONG_USAGE, Cli


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    return Cli(tmp_path, DATABASE_URL=database_url)


def test_an_operator_and_a_token_are_shown_once_and_listed_without_secrets(cli: Cli) -> None:
    created = cli.json("operator", "create", "ada")
    assert set(created) == {"operator", "sign_in"}
    token = cli.json("operator", "token", "ada", "--scope", "accounts,read,read", "--expires", "30d")
    assert token["token"].startswith("rmo_")
    assert token["scopes"] == ["accounts", "read"]
    assert cli.json("operator", "token", "ada")["scopes"] == ["read"]
    ran = cli("operator", "list", "--json")
    assert created["sign_in"].split("_")[2] not in ran.out
    assert token["token"].split("_")[2] not in ran.out
    (row,) = cli.json("operator", "list")
    assert row["tokens"][0]["token_id"] == token["token_id"]
    shown = cli("operator", "list").out
    assert token["token_id"] in shown
    assert "accounts, read" in shown


def test_one_token_is_revoked_or_the_operator_with_all_of_them(cli: Cli) -> None:
    cli.json("operator", "create", "bob")
    first, second = (cli.json("operator", "token", "bob")["token_id"] for _ in range(2))
    tokens = cli.json("operator", "revoke", "bob", "--token", first)["tokens"]
    assert [one["token_id"] for one in tokens if one["revoked_at"] is None] == [second]
    revoked = cli.json("operator", "revoke", "bob")
    assert revoked["revoked_at"]
    assert all(one["revoked_at"] for one in revoked["tokens"])
    assert cli.json("operator", "revoke", "bob") == revoked
    assert "revoked" in cli("operator", "list").out


@pytest.mark.parametrize(
    "words",
    [
        ("create", "no blanks"),
        ("create", "'; DROP TABLE operators; --"),
        ("create", ""),
        ("create", "x" * 65),
        ("token", "nobody"),
        ("revoke", "nobody"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli("operator", *words, "--json")
    assert (ran.status, ran.out, ran.err.count("\n")) == (REFUSED, "", 1)


@pytest.mark.parametrize(
    "words",
    [
        ("operator", "token", "ada", "--scope", "inference"),
        ("operator", "token", "ada", "--scope", ""),
        ("operator", "token", "ada", "--expires", "0s"),
        ("audit", "list", "--since", "soon"),
        ("audit", "list", "--limit", "0"),
    ],
)
def test_wrong_usage_exits_with_2(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words)
    assert (ran.status, ran.out) == (WRONG_USAGE, "")


def test_the_audit_log_says_who_did_what(cli: Cli) -> None:
    account = cli.new_account("5")
    cli.json("account", "credit", account, "20", "--ref", "inv-1")
    actor = f"cli:{getpass.getuser()}@{socket.gethostname()}"
    credited, created = cli.json("audit", "list", "--limit", "2", "--actor", actor, "--since", "1h")
    assert set(credited) == {"at", "actor", "action", "target", "before", "after", "request_id"}
    assert (created["action"], created["actor"]) == ("account.create", actor)
    assert (credited["target"], credited["before"]) == (f"account:{account}", {"balance_usd": "5"})
    shown = cli("audit", "list", "--limit", "1")
    assert "balance_usd 5 → 25, ref inv-1, usd 20" in shown.out
    assert cli("audit", "list", "--actor", "operator:nobody").out == "none\n"
    assert shown.status == DONE
