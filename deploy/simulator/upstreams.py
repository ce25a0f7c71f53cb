"""Several keys and regions of a vendor at the same time, each with a fault of its own.

A call's account is the key that it comes with: a bearer key, Google's API key, or the access key id of an AWS signature.
Only its last four characters are kept. Its region is that of the AWS signature, or REGION if the vendor's address is
`/at/REGION/…`. `POST /_upstreams` sets the fault of the calls of a vendor, an account or a region (`Condition`), `GET`
shows it.

| fault | what happens |
|---|---|
| `dead` | the connection is reset before the call is read |
| `silent` | the call is taken and never answered |
| `slow` | three seconds pass before the first token; `script` says otherwise, as in `"first_ms=800"` |
| `down` | HTTP 500; `script` says otherwise, as in `"status=503"` |
| `flapping` | `down` for `down_s` seconds, well for `up_s`, and again |
| `throttled` | so many calls `per_minute`, `burst` of them at once; others get 429, with the vendor's hints about its limit |
| `wrong_key`, `no_credit` | refused in each vendor's words |
| `unfinished`, `endless` | a stream ends without its end, or never |
| empty | nothing but the `script`, which overrides that of the call |
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from aiohttp import web

SHOWN_LENGTH = 4
Vendor = Literal["", "openai", "deepseek", "gemini", "bedrock"]
Fault = Literal[
    "",
    "dead",
    "silent",
    "slow",
    "down",
    "flapping",
    "throttled",
    "wrong_key",
    "no_credit",
    "unfinished",
    "endless",
]
SCRIPTS: dict[str, str] = {
    "slow": "first_ms=3000",
    "down": "status=500 fault=",
    "flapping": "status=500 fault=",
    "unfinished": "status=0 fault=early_end after=2",
    "endless": "status=0 fault=endless",
}
"""The scripts of these faults, in the form of `script.py`."""
TELL_WAITS = ("openai", "gemini")
"""Vendors that tell how long to wait: OpenAI in `retry-after`, Google in a detail of its error; Bedrock and DeepSeek do
not.
"""
_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/")
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3_600)]


class Payer(msgspec.Struct, frozen=True):
    """The account that a vendor bills for a call, and its region; `account` is the end of the key."""

    vendor: str = ""
    account: str = ""
    region: str = ""


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fault of calls of this vendor, key (or its end) and region, each empty for any; it hits a random `share` of
    them. Another condition for the same three replaces it.
    """

    vendor: Vendor = ""
    key: str = ""
    region: str = ""
    fault: Fault = ""
    script: str = ""
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    seed: int = 0
    up_s: Seconds = 1.0
    down_s: Seconds = 1.0
    per_minute: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 60
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1

    @property
    def of(self) -> Payer:
        """The payer that the condition is for."""
        return Payer(self.vendor, self.key[-SHOWN_LENGTH:], self.region)

    def shown(self) -> Condition:
        """The condition with a shortened key."""
        return msgspec.structs.replace(self, key=self.of.account)


class Met(msgspec.Struct):
    """The fate of one call: it is `dead` or `silent`, or refused for a reason; otherwise its script is extended.
    `told_wait_s` and `headers` are the vendor's hints about its limit.
    """

    dead: bool = False
    silent: bool = False
    refused: Literal["", "wrong_key", "no_credit", "throttled"] = ""
    told_wait_s: float = 0.0
    script: str = ""
    headers: dict[str, str] = {}


class Upstreams:
    """The conditions in force; `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._standing: dict[Payer, _Standing] = {}

    def set(self, condition: Condition) -> None:
        """Put a condition in force; one without a fault and a script removes the present one."""
        self._standing.pop(condition.of, None)
        if condition.fault or condition.script:
            self._standing[condition.of] = _Standing(condition, self._clock)

    def clear(self) -> None:
        """Remove all conditions."""
        self._standing.clear()

    def in_force(self) -> list[Condition]:
        """The conditions, in the order in which they are applied to calls."""
        return [standing.condition.shown() for standing in self._standing.values()]

    def meet(self, payer: Payer) -> Met:
        """The fate of the next call of `payer`; the call counts towards the payer's limits."""
        met = Met()
        for of, standing in self._standing.items():
            if _matches(of, payer):
                standing.befall(met, payer)
        return met


def payer_of(request: web.Request, api: str) -> Payer:
    """The payer of a request, by its headers and its path."""
    given = request.headers.get("Authorization", "")
    signed = _SIGNED.match(given)
    google = request.headers.get("x-goog-api-key") or request.query.get("key", "")
    key = signed["key"] if signed else google or given.partition(" ")[2].strip()
    region = request.match_info.get("region", "") or (signed["region"] if signed else "")
    return Payer(api.partition("-")[0], key[-SHOWN_LENGTH:], region)


class _Standing:
    """A condition with its state."""

    def __init__(self, condition: Condition, clock: Callable[[], float]) -> None:
        self.condition = condition
        self._clock = clock
        self._began = clock()
        self._lots = random.Random(condition.seed)
        self._buckets: dict[Payer, _Bucket] = {}

    def befall(self, met: Met, payer: Payer) -> None:
        condition = self.condition
        if condition.share < 1 and self._lots.random() >= condition.share:
            return
        match condition.fault:
            case "dead":
                met.dead = True
            case "silent":
                met.silent = True
            case "wrong_key" | "no_credit" as reason:
                met.refused = reason
            case "throttled":
                self._throttle(met, payer)
            case "flapping" if not self._is_down():
                return
            case _:
                pass
        met.script = f"{met.script} {SCRIPTS.get(condition.fault, '')} {condition.script}".strip()

    def _is_down(self) -> bool:
        """True while the flapping upstream is down. It is down first, then up, in turns."""
        passed = (self._clock() - self._began) % (self.condition.down_s + self.condition.up_s)
        return passed < self.condition.down_s

    def _throttle(self, met: Met, payer: Payer) -> None:
        condition = self.condition
        bucket = self._buckets.setdefault(payer, _Bucket(condition.per_minute, condition.burst, self._clock))
        wait_s = bucket.take()
        if wait_s:
            met.refused = "throttled"
        if payer.vendor in TELL_WAITS:
            met.told_wait_s = wait_s
        if payer.vendor == "openai":  # only OpenAI sends these headers
            met.headers = bucket.headers()


class _Bucket:
    """Room for `burst` calls, which grows by one call every `60 / per_minute` seconds."""

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._burst = burst
        self._clock = clock
        self._every_s = 60 / per_minute
        self._room = float(burst)
        self._at = clock()

    def take(self) -> float:
        """Seconds until there is room for the call; 0 if there was."""
        now = self._clock()
        self._room = min(self._burst, self._room + (now - self._at) / self._every_s)
        self._at = now
        if self._room < 1:
            return (1 - self._room) * self._every_s
        self._room -= 1
        return 0.0

    def headers(self) -> dict[str, str]:
        """The rate-limit headers of platform.openai.com/docs/guides/rate-limits (read 2026-11)."""
        reset_ms = math.ceil((self._burst - self._room) * self._every_s * 1_000)
        return {
            "x-ratelimit-limit-requests": str(self._per_minute),
            "x-ratelimit-remaining-requests": str(int(self._room)),
            "x-ratelimit-reset-requests": f"{reset_ms}ms" if reset_ms < 1_000 else f"{reset_ms / 1_000:g}s",  # noqa: PLR2004
        }


def _matches(of: Payer, payer: Payer) -> bool:
    wanted = (of.vendor, of.account, of.region)
    given = (payer.vendor, payer.account, payer.region)
    return all(one in {"", other} for one, other in zip(wanted, given, strict=True))
