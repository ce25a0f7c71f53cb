"""Asks for an object in each of instructor's modes. It runs where the project's own packages are not.

`BASE_URL` and `API_KEY` say where and as whom, `PROMPT` what is asked in modes in which nothing but the prompt says what the
object is. One line is printed for each mode: its name, and the object, or the error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import instructor
from anthropic import Anthropic
from instructor import Mode
from openai import OpenAI
from pydantic import BaseModel

GPT, CLAUDE = "openai-gpt-4o-mini", "anthropic-claude-sonnet-4-6"
OPENAI_MODES = ("FUNCTIONS", "TOOLS", "TOOLS_STRICT", "JSON_SCHEMA", "JSON", "MD_JSON")
RESPONSES_MODES = ("RESPONSES_TOOLS", "RESPONSES_TOOLS_WITH_INBUILT_TOOLS")
ANTHROPIC_MODES = ("ANTHROPIC_TOOLS", "ANTHROPIC_REASONING_TOOLS", "ANTHROPIC_JSON")
WRITTEN = {"JSON", "MD_JSON", "ANTHROPIC_JSON"}
"""Modes that ask `PROMPT`."""


class Town(BaseModel):
    """What is asked for."""

    name: str
    inhabitants: int


def say_all() -> None:
    """Ask in every mode."""
    url, key = os.environ["BASE_URL"], os.environ["API_KEY"]
    openai = OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
    anthropic = Anthropic(base_url=url, api_key=key, max_retries=0)
    for mode in (*OPENAI_MODES, *RESPONSES_MODES):
        _say(mode, GPT, instructor.from_openai(openai, mode=Mode[mode]))
    for mode in ANTHROPIC_MODES:
        _say(mode, CLAUDE, instructor.from_anthropic(anthropic, mode=Mode[mode]))
    _say("PARALLEL_TOOLS", GPT, instructor.from_openai(openai, mode=Mode.PARALLEL_TOOLS), Iterable[Town])
    parallel = instructor.from_anthropic(anthropic, mode=Mode.ANTHROPIC_PARALLEL_TOOLS)
    _say("ANTHROPIC_PARALLEL_TOOLS", CLAUDE, parallel, Iterable[Town])


def _say(mode: str, model: str, client: Any, form: Any = Town) -> None:
    prompt = os.environ["PROMPT"] if mode in WRITTEN else "Describe a town."
    bound = {"max_tokens": 1_000} if mode.startswith("ANTHROPIC") else {}
    try:
        said = client.create(
            model=model, response_model=form, messages=[{"role": "user", "content": prompt}], max_retries=0, **bound
        )
    except Exception as error:  # noqa: BLE001 - what a client raises is what is asked for
        said = f"{type(error).__name__}: {error}".replace("\n", " ")
    print(mode, repr(said) if isinstance(said, str | Town) else list(said))  # noqa: T201 - this is its answer


if __name__ == "__main__":
    say_all()
