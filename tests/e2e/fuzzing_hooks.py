"""Loaded by Schemathesis (`SCHEMATHESIS_HOOKS`): valid chat requests reach a vendor and end soon, our own key is left alone,
and every answer is counted.
"""

from __future__ import annotations

import atexit
import json
import os
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation

AnyCase = schemathesis.Case[Any]
TOKENS_MAX = 8
AT_ONCE = {"role": "user", "content": "[[sim first_ms=0 pace_ms=0 tokens=3]]"}
MODELS = cycle(os.environ["FUZZ_MODELS"].split())
OWN_KEY_ID, ANOTHER_KEY_ID = os.environ["FUZZ_KEY_ID"], "0" * 12
FIGURES = Path(os.environ["FUZZ_FIGURES"])
answers: Counter[tuple[str, int, str]] = Counter()


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: AnyCase, __: dict[str, Any]) -> None:
    """Where the body is valid: a model that is there or almost, few tokens, and no waiting. Never our own key."""
    if case.path_parameters.get("key_id") == OWN_KEY_ID:
        case.path_parameters["key_id"] = ANOTHER_KEY_ID
    negative = case.meta is None or case.meta.is_negative_at(ParameterLocation.BODY)
    if isinstance(case.body, dict) and not negative:
        if {"model", "messages"} <= case.body.keys():
            case.body = soon_ended(case.body, case.path)
        elif {"model", "input"} <= case.body.keys():
            case.body = soon_ended_response(case.body)


def soon_ended_response(body: dict[str, Any]) -> dict[str, Any]:
    items = body["input"] if isinstance(body["input"], list) else []
    return {**body, "model": next(MODELS), "input": [*items, AT_ONCE], "max_output_tokens": TOKENS_MAX}


def soon_ended(body: dict[str, Any], path: str) -> dict[str, Any]:
    body = {**body, "model": next(MODELS), "messages": [*body["messages"], AT_ONCE]}
    if path.startswith("/api/"):
        return {**body, "options": {**(body.get("options") or {}), "max_tokens": TOKENS_MAX}}
    if path.endswith("/count_tokens"):
        return body
    limit = "max_completion_tokens" if body.get("max_completion_tokens") else "max_tokens"
    return {**body, limit: TOKENS_MAX}


@schemathesis.hook
def after_call(_: schemathesis.HookContext, case: AnyCase, response: schemathesis.Response) -> None:
    answers[case.operation.label, response.status_code, failure(response)] += 1


def failure(response: schemathesis.Response) -> str:
    """What was said of a failure on our side; the message is at the same place in every API."""
    if response.status_code < 500:
        return ""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500]


@atexit.register
def write_figures() -> None:
    FIGURES.write_text(json.dumps([[*answer, count] for answer, count in sorted(answers.items())]), encoding="utf-8")
