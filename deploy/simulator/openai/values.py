"""The ranges and counts of OpenAI's options for chat completions besides messages and tools, one table.

Sources: OpenAI's API reference, and its errors as users report them (2024-2026), such as "Invalid 'temperature':
decimal above maximum value. Expected a value <= 2, but got 2.1 instead." and
github.com/continuedev/continue/issues/2461 for `stop`.
"""

from __future__ import annotations

from collections.abc import Iterator

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.body import ChatRequest

INVALID = "invalid_request_error"
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
STOPS_MAX, SEED_MAX = 4, 2**63 - 1
USER_LENGTH_MAX, TEXT_LENGTH_MAX = 64, 10_485_760


def check_values(body: ChatRequest) -> None:
    """Raise `Refusal` for the first value that is out of its range."""
    for name, (least, most) in RANGES.items():
        value = getattr(body, name)
        if value is not None and value > most:
            raise _out_of_range(
                name, "above", f"maximum value. Expected a value <= {most:g}, but got {value:g} instead."
            )
        if value is not None and value < least:
            raise _out_of_range(
                name, "below", f"minimum value. Expected a value >= {least:g}, but got {value:g} instead."
            )
    if body.seed is not None and not -SEED_MAX - 1 <= body.seed <= SEED_MAX:
        words = f"integer above maximum value. Expected a value <= {SEED_MAX}, but got {body.seed} instead."
        raise Refusal(400, "integer_above_max_value", f"Invalid 'seed': {words}", INVALID, "seed")
    for where, text, most in _texts(body):
        if len(text) > most:
            words = f"Expected a string with maximum length {most}, but got a string with length {len(text)} instead."
            raise Refusal(
                400, "string_above_max_length", f"Invalid '{where}': string too long. {words}", INVALID, where
            )
    if isinstance(body.stop, list) and len(body.stop) > STOPS_MAX:
        words = (
            f"Expected an array with maximum length {STOPS_MAX}, but got an array with length {len(body.stop)} instead."
        )
        raise Refusal(400, "array_above_max_length", f"Invalid 'stop': array too long. {words}", INVALID, "stop")


def _texts(body: ChatRequest) -> Iterator[tuple[str, str, int]]:
    """Texts with their places and length limits."""
    yield "user", body.user or "", USER_LENGTH_MAX
    for i, message in enumerate(body.messages):
        if isinstance(message.content, str):
            yield f"messages[{i}].content", message.content, TEXT_LENGTH_MAX
        for j, part in enumerate(message.content if isinstance(message.content, list) else ()):
            yield f"messages[{i}].content[{j}].text", part.text, TEXT_LENGTH_MAX


def _out_of_range(name: str, side: str, words: str) -> Refusal:
    code = f"decimal_{side}_{'max' if side == 'above' else 'min'}_value"
    return Refusal(400, code, f"Invalid '{name}': decimal {side} {words}", INVALID, name)
