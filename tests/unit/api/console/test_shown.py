from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from api.console.session import next_page
from api.console.shown import about, lasted, moment, money, number, rate, rough, short


@pytest.mark.parametrize(
    ("amount", "main", "fine"),
    [
        ("0", "0.00", ""),
        ("12.5", "12.50", ""),
        ("1234567.000000001", "1,234,567.00", "0000001"),
        ("-0.00000075", "−0.00", "000075"),
        (msgspec.Raw(b"0.015"), "0.01", "5"),
    ],
)
def test_every_digit_of_an_amount_is_shown(amount: object, main: str, fine: str) -> None:
    assert money(amount) == (main, fine)


@pytest.mark.parametrize(
    ("price", "shown"),
    [(msgspec.Raw(b"2.5"), "2.50"), (msgspec.Raw(b"0.00875"), "0.00875"), ("1200", "1,200.00"), (None, "–")],
)
def test_a_price_has_the_digits_that_it_needs(price: object, shown: str) -> None:
    assert rate(price) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [("0", "$0.00"), ("2.50", "$2.50"), ("12.3456", "$12.34"), ("0.02816326", "$0.02816")]
)
def test_a_rough_amount_has_cents_or_below_a_dollar_four_digits(amount: str, shown: str) -> None:
    assert rough(amount) == shown


def test_what_is_not_there_is_a_dash() -> None:
    assert [number(None), short(None), moment(None), lasted(None)] == ["–"] * 4


def test_numbers_and_times_are_short() -> None:
    assert (number(1_234_567), short(999), short(8_192)) == ("1,234,567", "999", "8,192")
    assert (short(128_000), short(131_072), short(1_048_576)) == ("128K", "131K", "1.05M")
    assert (about(0.2), about(6.57), about(59.4), about(75.2)) == ("1 s", "7 s", "1 min 0 s", "1 min 15 s")
    assert (lasted(0.42), lasted(75), lasted(7_260), lasted(90_000)) == ("0.42 s", "1 min 15 s", "2 h 1 min", "1 d 1 h")
    assert moment(dt.datetime(2027, 1, 31, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))) == "2027-01-30 23:00:00"


@pytest.mark.parametrize(
    "page", ["/console/usage", "/console/requests?q=a%20b&state=failed", "/console/requests/req_1"]
)
def test_the_sign_in_leads_back_to_a_page_of_the_console(page: str) -> None:
    assert next_page(page) == page


@pytest.mark.parametrize(
    "elsewhere",
    [
        "",
        "/console",
        "/docs",
        "//evil.example/console/usage",
        "https://evil.example/console/usage",
        "/console/\\evil.example",
        "/console//evil.example",
        "/console/%2Fevil.example",
        "/console/%5Cevil.example",
        "/console/../docs",
        "/console/%2e%2e/docs",
        "/console/usage\r\nSet-Cookie: a=b",
        "/console/api/usage.csv",
        "/console/enter/abc",
        "javascript:alert(1)",
    ],
)
def test_the_sign_in_leads_nowhere_else(elsewhere: str) -> None:
    assert next_page(elsewhere) is None
