r"""The script of one call: a caller's instructions to the simulator, and the form in which they are sent.

A directive in the last user message, `[[sim tokens=200 pace_ms=5 fault=cut after=3 key=k1]]`, overrides the defaults of
the process: `SIM_<FIELD>` variables, then `--script`, then `POST /_defaults`. An unknown field or value is a 400. A tool's
result is not the user's; an answer to it repeats the result's text. Where the request wants JSON, the text is JSON.

A directive that names a plan holds for the messages after it, too, until a message of the user has another. `POST /_plans`,
`--plans FILE` and `SIM_PLANS=FILE` make plans known; an unknown one is a 400. `plans.py` says how they are written.

| field | meaning |
|---|---|
| `tokens` | tokens of visible text; a token is one piece of text, one event of a stream |
| `calls` | tool calls to make where tools are on offer; 0 = none, -1 = one, unless a tool's result is to be answered |
| `late_names` | 1 = a streamed call has its id first and its name last, as OpenAI's form allows (OpenAI, DeepSeek) |
| `preface` | tokens of visible text before the tool calls |
| `plan` | the key of a plan: its turns say the text and make the calls, instead of the three fields above |
| `first_ms`, `pace_ms` | wait before the first token, and between tokens; at pace 0 what is ready is one write |
| `size` | UTF-8 bytes per token after the label; 0 = as the words come |
| `unicode` | 1 = a share of the tokens is emoji, CJK, combining marks, quotes, line separators |
| `surrogate` | 1 = characters beyond the BMP arrive as two lone `\uXXXX` halves in two events |
| `split` | 1 = the byte stream is cut at arbitrary positions, inside events and UTF-8 sequences |
| `cached`, `reasoning` | tokens reported as cached input, and as reasoning (inside the output and its limit) |
| `written` | tokens of the input that are reported as written to a cache (OpenAI, Converse) |
| `written_long` | how many of these are to be kept for an hour (Converse) |
| `cache` | 0 = the vendor's cache of prompts is passed by; `cached` and `written` take its place, too |
| `keepalive` | keep-alive comments (blank lines in the JSON form) before the first token |
| `finish` | the vendor's finish reason, e.g. `content_filter`, `SAFETY`, `insufficient_system_resource` |
| `usage` | `missing`, `zero`, `wrong` (far too many), `negative`, `huge`; DeepSeek: `inline` (on the last choice) |
| | `contradictory`: more tokens of the input were cached than there are |
| `key` | marks the call in the log, counts `times`, names the gate of `hold`, and seeds the text |
| `hold` | stop before token N (JSON form: before the answer) until `POST /_release?key=…`; -1 = never stop |
| `status`, `code`, `retry_after` | refuse with this status, the vendor's error code, and seconds to wait |
| `times` | `status` and `fault` hit only the first N calls of the same `key`; 0 = all |
| `full` | the first N calls of the same `key` at the tier flex are refused, because it has no capacity |
| `served` | the tier at which a call that asks for flex is served: `flex`, `default`, `priority`; empty = as asked |
| `fault`, `after` | misbehave after N tokens, see below; the JSON form breaks off after half of the body |

| fault | what happens |
|---|---|
| `cut` / `fin` | TCP reset / FIN in the middle of the HTTP body |
| `early_end` | the response ends tidily without the terminal marker |
| `garbage` | malformed data, then the rest |
| `silence` / `comments` | nothing more / only keep-alive comments, for ever, on an open connection |
| `endless` | tokens (JSON form: a body) that never stop, whatever the limit |
| `error_event` | an error object in the stream (JSON form: in a 200), named by `status` and `code` |
| `slow_headers` | `first_ms` passes before the headers instead of after them |
| `empty` / `html` | a 200 without a body / an HTML page with `status` or 502 |
| `no_finish` / `no_done` | all but the finish reason / all but the last marker (`[DONE]`, Bedrock: the metadata) |
| `retired` / `blocked` | the vendor's words for a model that is gone / for a prompt its filter refuses |
| `above_limit` | the vendor's words for a request that alone exceeds the account's tokens a minute (OpenAI) |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal

import msgspec

Fault = Literal[
    "",
    "cut",
    "fin",
    "early_end",
    "garbage",
    "silence",
    "comments",
    "endless",
    "error_event",
    "slow_headers",
    "empty",
    "html",
    "no_finish",
    "no_done",
    "retired",
    "blocked",
    "above_limit",
]
UsageForm = Literal["", "missing", "zero", "wrong", "negative", "contradictory", "huge", "inline"]
Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
Status = Literal[0, 200, 400, 401, 402, 403, 404, 408, 422, 424, 429, 500, 502, 503]

_DIRECTIVE = re.compile(r"\[\[sim\s([^\]]*)\]\]")


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call's behaviour; the fields are those of the table above."""

    tokens: Count = 24
    calls: Annotated[int, msgspec.Meta(ge=-1, le=1_000)] = -1
    late_names: bool = False
    preface: Count = 0
    plan: str = ""
    first_ms: Count = 200
    pace_ms: Count = 20
    size: Count = 0
    unicode: bool = False
    surrogate: bool = False
    split: bool = False
    cache: bool = True
    cached: Count = 0
    written: Count = 0
    written_long: Count = 0
    reasoning: Count = 0
    keepalive: Count = 0
    finish: str = ""
    usage: UsageForm = ""
    key: str = ""
    hold: Annotated[int, msgspec.Meta(ge=-1)] = -1
    status: Status = 0
    code: str = ""
    retry_after: Count = 0
    times: Count = 0
    full: Count = 0
    served: Literal["", "flex", "default", "priority"] = ""
    fault: Fault = ""
    after: Count = 0

    @property
    def misbehaves(self) -> bool:
        """True if this call is to fail in any way."""
        return bool(self.status or self.fault)

    def behaved(self) -> Script:
        """The same script without its status and fault."""
        return msgspec.structs.replace(self, status=0, fault="")


class ScriptError(ValueError):
    """A directive names an unknown field, value or plan, or a plan is wrong; the message says which."""


class Said(msgspec.Struct, frozen=True):
    """One message of a talk, system messages left out; `text` is without tools' calls and results."""

    by: Literal["user", "model", "tool"]
    text: str


def last_of_user(talk: Sequence[Said]) -> str:
    """The user's last text; empty if there is none."""
    return next((said.text for said in reversed(talk) if said.by == "user" and said.text), "")


def from_talk(talk: Sequence[Said], defaults: Script) -> tuple[Script, int]:
    """Read the directive that holds, and count the model's turns since it, all of them where none holds.

    One in the user's last message holds, an earlier one only if it is the last and names a plan. Messages of the model
    that follow each other are one turn, and one that the answer is to continue is none yet. Raises `ScriptError`.
    """
    texts = [(place, said.text) for place, said in enumerate(talk) if said.by == "user" and said.text]
    for place, text in reversed(texts):
        directive = _directive(text)
        if directive is not None and (place == texts[-1][0] or "plan=" in directive):
            return overlay(directive, defaults), _turns(talk[place:])
        if directive is not None:
            break
    return defaults, _turns(talk)


def from_message(text: str, defaults: Script) -> Script:
    """Read the last directive in a message; without one the defaults hold. Raises `ScriptError`."""
    directive = _directive(text)
    return defaults if directive is None else overlay(directive, defaults)


def from_environment(environment: Mapping[str, str]) -> Script:
    """Read `SIM_<FIELD>` variables over the built-in defaults. Raises `ScriptError`."""
    names = Script.__struct_fields__
    given = {name: environment[f"SIM_{name.upper()}"] for name in names if f"SIM_{name.upper()}" in environment}
    return merge(given, Script())


@lru_cache(maxsize=4096)
def overlay(text: str, defaults: Script) -> Script:
    """Lay `name=value name=value` over the defaults. Raises `ScriptError`."""
    pairs = [word.partition("=") for word in text.split()]
    return merge({name: value for name, _, value in pairs}, defaults)


def merge(given: Mapping[str, object], defaults: Script) -> Script:
    """Lay named values, as text or typed, over the defaults. Raises `ScriptError`."""
    try:
        return msgspec.convert(msgspec.structs.asdict(defaults) | dict(given), Script, strict=False)
    except msgspec.ValidationError as error:
        raise ScriptError(f"simulator directive: {error}") from None


def _directive(text: str) -> str | None:
    if "[[sim " not in text:
        return None
    directives = _DIRECTIVE.findall(text)
    return directives[-1] if directives else None


def _turns(talk: Sequence[Said]) -> int:
    return sum(said.by == "model" != following.by for said, following in pairwise(talk))
