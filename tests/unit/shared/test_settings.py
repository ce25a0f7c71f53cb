from __future__ import annotations

import inspect
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from shared.setting_values import queue_list
from shared.settings import Settings, SettingsError

STORES = {"DATABASE_URL": "postgresql://u:hunter2@db/x", "REDIS_URL": "redis://r:6379/0"}


def test_the_defaults_are_the_documented_ones() -> None:
    settings = Settings.load(STORES)
    assert (settings.port, settings.host, settings.worker_slots) == (8080, "127.0.0.1", 100)
    assert (settings.lease_s, settings.drain_s, settings.request_deadline_s) == (10, 60, 600)
    assert settings.worker_queues == queue_list("*:interactive,*:batch")


def test_every_setting_is_explained_where_it_is_defined() -> None:
    """Beside it or above it; a comment after an empty line is a heading."""
    lines = Path(inspect.getfile(Settings)).read_text(encoding="utf-8").splitlines()
    defined = [number for number, line in enumerate(lines) if re.match(r"    [a-z_\d]+: .* = ", line)]
    assert len(defined) > 150
    above = {number for number in defined if lines[number - 1].startswith("    # ") and lines[number - 2]}
    assert not [lines[number] for number in defined if "  # " not in lines[number] and number not in above]


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (
            "https://app.example.com , http://localhost:5173,https://app.example.com",
            ("https://app.example.com", "http://localhost:5173"),
        ),
        ("http://[::1]:8080,app://obsidian.md", ("http://[::1]:8080", "app://obsidian.md")),
    ],
)
def test_origins_are_those_that_are_named(text: str, origins: tuple[str, ...]) -> None:
    assert Settings.load(STORES | {"CORS_ORIGINS": text}).cors_origins == origins


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://llm.example.com/", "https://llm.example.com"),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ("https://example.com/llm//", "https://example.com/llm"),
    ],
)
def test_the_public_url_is_kept_without_a_slash_at_its_end(text: str, kept: str) -> None:
    assert Settings.load(STORES | {"PUBLIC_URL": text}).public_url == kept


@pytest.mark.parametrize("missing", STORES)
def test_a_missing_store_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{missing} is not set: it takes [^\n]+$"):
        Settings.load({name: value for name, value in STORES.items() if name != missing})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.load(STORES | {"PORT": " "}).port == 8080


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "localhost"),
        ("TRUSTED_PROXIES", "10.0.0.1,"),
        ("JSON_NODES_MAX", "999"),
        ("JSON_DEPTH_MAX", "15"),
        ("JSON_DEPTH_MAX", "201"),
        ("MESSAGES_MAX", "50001"),
        ("TOOLS_MAX", "4097"),
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("METRICS_PORT", "9.5"),
        ("WORKER_SLOTS", "0"),
        ("WORKER_SLOTS", "1e3"),
        ("WORKER_SLOTS", "1_0"),
        ("WORKER_SLOTS", "\u0661\u0662"),
        ("LEASE_S", "1_0"),
        ("PRICE_FACTOR", "1_0"),
        ("PRICE_FACTOR", "1e-10"),
        ("PRICE_FACTOR", "1e-1000"),
        ("PRICE_FACTOR", "0e-999999999"),
        ("BATCH_PRICE_FACTOR", "1000.1"),
        ("IN_FLIGHT_MAX", "2147483648"),
        ("BATCH_DAYS_KEPT", "3651"),
        ("USAGE_DAYS_MAX", "3661"),
        ("KEY_GRACE_MAX_S", "315360001"),
        ("WEB_CONCURRENCY", "65"),
        ("LEASE_S", "0.5"),
        ("SOCKET_UNSENT_BYTES_MAX", "2147483648"),
        ("LOCK_TIMEOUT_S", "0.0005"),
        ("DDL_LOCK_TIMEOUT_S", "0.0009"),
        ("LEASE_S", "nan"),
        ("DRAIN_S", "inf"),
        ("PRICE_FACTOR", "-1"),
        ("PRICE_FACTOR", "NaN"),
        ("CORS_ORIGINS", "*,https://app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://app.example.com:443"),
        ("CORS_ORIGINS", "http://localhost:80"),
        ("CORS_ORIGINS", "https://App.example.com"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "https://me@example.com"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://a.example,"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("KEEP_MESSAGES", "maybe"),
        ("CATALOGUE", "/nowhere/to/be/found.toml"),
        ("BATCH_EXPORT_S3", "bucket/prefix"),
        ("BATCH_EXPORT_S3", "s3:///prefix"),
        ("WORKER_QUEUES", "openai"),
        ("WORKER_QUEUES", "openai:express"),
        ("WORKER_QUEUES", "bedrock:flex"),
        ("WORKER_QUEUES", "acme:batch"),
        ("WORKER_QUEUES", ","),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_line_that_names_it(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(STORES | {variable: value})
    assert str(refused.value).startswith(f"{variable}={value!r} is wrong: it takes ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"DDL_LOCK_TIMEOUT_S": "0.25"}, "LOCK_TIMEOUT_S"),
        ({"LOCK_TIMEOUT_S": "0.1", "DDL_LOCK_TIMEOUT_S": "0.1"}, "LOCK_TIMEOUT_S"),
        ({"LOCK_TIMEOUT_S": "5"}, "DATABASE_TIMEOUT_S"),
        ({"DATABASE_TIMEOUT_S": "0.2"}, "DATABASE_TIMEOUT_S"),
        ({"HEARTBEAT_S": "5"}, "WORKER_SEEN_S"),
        ({"WORKER_SEEN_S": "0.5"}, "WORKER_SEEN_S"),
        ({"WORKER_SLOTS": "10", "BATCH_SLOTS_RESERVED": "10"}, "WORKER_SLOTS"),
        ({"BATCH_IN_FLIGHT_KEPT": "1000"}, "IN_FLIGHT_MAX"),
        ({"IN_FLIGHT_MAX": "100", "BATCH_IN_FLIGHT_KEPT": "100"}, "IN_FLIGHT_MAX"),
        ({"BATCH_WINDOW_BYTES_MAX": "3999999"}, "BATCH_WINDOW_BYTES_MAX"),
        ({"BATCH_LINE_BYTES_MAX": "64000001"}, "BATCH_WINDOW_BYTES_MAX"),
        ({"BATCH_BYTES_MAX": "3999999"}, "BATCH_BYTES_MAX"),
        ({"BATCH_CONCURRENCY_START": "3000"}, "BATCH_CONCURRENCY_MAX"),
        ({"QUEUE_DEPTH_MAX": "100", "BATCH_WINDOW_MAX": "101"}, "QUEUE_DEPTH_MAX"),
        ({"BATCH_DAYS_KEPT": "1"}, "BATCH_EXPIRES_S"),
        ({"UPLOAD_SILENT_S": "179"}, "BODY_WITHIN_S"),
        ({"UPLOAD_SILENT_S": "299", "BODY_WITHIN_S": "100"}, "BODY_WITHIN_S"),
        ({"BATCH_DAYS_KEPT": "2", "BATCH_EXPIRES_S": "172800"}, "BATCH_EXPIRES_S"),
        ({"QUEUE_BYTES_MAX": "19999999"}, "BODY_BYTES_MAX"),
    ],
)
def test_settings_that_contradict_each_other_stop_the_start_with_one_line(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=rf"^[A-Z_]+=[0-9.]+ is wrong: it takes [^\n]*\b{named}\b[^\n]*$"):
        Settings.load(STORES | given)


def test_a_change_of_tables_waits_less_than_traffic_whatever_that_is_set_to() -> None:
    assert Settings.load(STORES | {"LOCK_TIMEOUT_S": "0.1"}).ddl_lock_timeout_s == 0.05
    assert Settings.load(STORES | {"LOCK_TIMEOUT_S": "4"}).ddl_lock_timeout_s == 0.1


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"WORKER_SLOTS": "1"}, "batch_slots_reserved", 0),
        ({"WORKER_SLOTS": "5"}, "batch_slots_reserved", 4),
        ({"WORKER_SLOTS": "500"}, "batch_slots_reserved", 10),
        ({"IN_FLIGHT_MAX": "1"}, "batch_in_flight_kept", 0),
        ({"IN_FLIGHT_MAX": "400"}, "batch_in_flight_kept", 200),
        ({"BATCH_CONCURRENCY_MAX": "8"}, "batch_concurrency_start", 8),
        ({"QUEUE_DEPTH_MAX": "100"}, "batch_window_max", 100),
        ({"QUEUE_DEPTH_MAX": "20000"}, "batch_window_max", 2_000),
        ({"HOST": "0.0.0.0"}, "metrics_host", "0.0.0.0"),
        ({"HOST": "0.0.0.0", "METRICS_HOST": "127.0.0.1"}, "metrics_host", "127.0.0.1"),
        ({}, "metrics_host", "127.0.0.1"),
    ],
)
def test_a_default_makes_room_for_what_is_given(given: dict[str, str], name: str, value: object) -> None:
    found = getattr(Settings.load(STORES | given), name)
    assert (found, type(found)) == (value, type(value))


def test_the_defaults_do_not_contradict_each_other() -> None:
    Settings.load(STORES)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://u:hunter2@db/x"),
        ("PUBLIC_URL", "llm.example.com"),
        ("PUBLIC_URL", "ftp://llm.example.com"),
        ("PUBLIC_URL", "https://user:hunter2@llm.example.com"),
        ("PUBLIC_URL", "https://llm.example.com?a=1"),
        ("PUBLIC_URL", "https://llm.example.com:99999"),
        ("PUBLIC_URL", "https://"),
        ("DATABASE_URL", "postgresql://u:hunter2@db:post/x"),
        ("REDIS_URL", "http://:hunter2@r"),
        ("REDIS_URL", "redis://:hunter2@r:70000"),
    ],
)
def test_a_wrong_url_is_named_without_its_password(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{variable} is wrong: it takes a URL [^\n]+$") as refused:
        Settings.load(STORES | {variable: value})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("variable", STORES)
def test_a_secret_may_stand_in_a_file(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"\n{STORES[variable]}\n", encoding="utf-8")
    settings = Settings.load({**STORES, variable: "", f"{variable}_FILE": str(file)})
    assert (settings.database_url, settings.redis_url) == tuple(STORES.values())
    assert getattr(settings, f"{variable.lower()}_file") == file


def test_a_secret_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("postgresql://u:hunter2@db/y", encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        Settings.load({**STORES, "DATABASE_URL_FILE": str(file)})
    assert str(refused.value) == "DATABASE_URL and DATABASE_URL_FILE are both set: set one of them"


@pytest.mark.parametrize(
    ("content", "because"), [(None, "cannot be read"), (b" \n", "is empty"), (b"\xff", "cannot be read")]
)
def test_a_file_without_a_secret_is_named_without_what_is_in_it(
    tmp_path: Path, content: bytes | None, because: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=because) as refused:
        Settings.load({**STORES, "REDIS_URL": "", "REDIS_URL_FILE": str(file)})
    assert str(refused.value).startswith(f"REDIS_URL_FILE={str(file)!r} ")
    assert "\n" not in str(refused.value)


def test_what_a_file_has_is_checked_as_any_other_value_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("mysql://u:hunter2@db/x", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^DATABASE_URL is wrong") as refused:
        Settings.load({**STORES, "DATABASE_URL": "", "DATABASE_URL_FILE": str(file)})
    assert "hunter2" not in str(refused.value)


def test_values_are_read_with_their_types(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.toml"
    overlay.write_text("", encoding="utf-8")
    given = {
        "PORT": "0",
        "LEASE_S": "2.5",
        "PRICE_FACTOR": "1.15",
        "KEEP_MESSAGES": "TRUE",
        "LOG_LEVEL": "DEBUG",
        "CATALOGUE": str(overlay),
        "WORKER_QUEUES": "gemini:batch",
    }
    settings = Settings.load(STORES | given)
    assert (settings.port, settings.lease_s, settings.price_factor) == (0, 2.5, Decimal("1.15"))
    assert (settings.keep_messages, settings.log_level, settings.catalogue_overlay) == (True, "debug", overlay)
    assert settings.worker_queues == ("q:gemini:batch", "q:gemini:flex")


def test_queues_keep_the_order_given_and_come_once() -> None:
    assert queue_list("openai:batch, *:interactive ,openai:*") == (
        "q:openai:batch",
        "q:openai:interactive",
        "q:bedrock:interactive",
        "q:deepseek:interactive",
        "q:gemini:interactive",
        "q:openai:flex",
    )


def test_whoever_serves_batches_serves_flex_behind_them_unless_the_list_says_who_does() -> None:
    default = Settings.load(STORES).worker_queues
    assert default[-3:] == ("q:gemini:batch", "q:openai:flex", "q:gemini:flex")
    assert queue_list("bedrock:*") == ("q:bedrock:interactive", "q:bedrock:batch")
    assert queue_list("openai:interactive") == ("q:openai:interactive",)
    assert queue_list("openai:batch,gemini:batch") == (
        *("q:openai:batch", "q:gemini:batch", "q:openai:flex", "q:gemini:flex"),
    )
    assert queue_list("openai:flex,gemini:batch") == ("q:openai:flex", "q:gemini:batch")


def test_the_deadline_is_that_of_the_service_tier() -> None:
    settings = Settings.load(STORES | {"FLEX_DEADLINE_S": "1000"})
    assert (settings.deadline_s("default"), settings.deadline_s("flex"), settings.deadline_max_s) == (600, 1000, 1000)


def test_every_front_door_has_a_port_for_its_metrics() -> None:
    given = STORES | {"METRICS_PORT": "65533", "WEB_CONCURRENCY": "3"}
    assert Settings.load(given).metrics_port == 65_533
    with pytest.raises(
        SettingsError, match=r"^METRICS_PORT=65533 is wrong: with WEB_CONCURRENCY=4 it takes at most 65532"
    ):
        Settings.load(given | {"WEB_CONCURRENCY": "4"})


def test_a_number_that_is_no_time_is_not_called_one() -> None:
    with pytest.raises(
        SettingsError, match=r"^BATCH_WINDOW_PER_SLOT='0' is wrong: it takes a number of lines for each slot "
    ):
        Settings.load(STORES | {"BATCH_WINDOW_PER_SLOT": "0"})


@pytest.mark.parametrize(
    "name", [field.name for field in msgspec.structs.fields(Settings) if field.name not in {"host", "metrics_host"}]
)
def test_every_setting_is_read_from_the_variable_of_its_name(name: str) -> None:
    variable = "CATALOGUE" if name == "catalogue_overlay" else name.upper()
    stores = STORES | {variable.removesuffix("_FILE"): ""} if variable.endswith("_URL_FILE") else STORES
    with pytest.raises(SettingsError, match=rf"^{variable}\b"):
        Settings.load(stores | {variable: "\N{SNOWMAN}"})


@pytest.mark.parametrize(("pause_s", "silent_s"), [("2", 300), ("100", 300), ("200", 600)])
def test_an_upload_is_given_up_only_after_it_may_have_paused_whatever_that_is_set_to(
    pause_s: str, silent_s: float
) -> None:
    assert Settings.load(STORES | {"BODY_WITHIN_S": pause_s}).upload_silent_s == silent_s
