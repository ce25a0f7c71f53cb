"""Errors for a conversation that does not fit into the model's window: how many tokens it has, and how many fit."""

from __future__ import annotations

import re
from typing import Self

import msgspec

from shared.errors import ContextLengthExceeded, ErrorBody

KEPT = re.compile(
    r"maximum context length is (?P<tokens_max>\d+) tokens\. However, (?:your messages resulted in|you requested) "
    r"(?P<tokens>\d+) tokens(?: \((?:\d+ in the messages, (?P<tokens_output>\d+) in|(?P<estimated>an estimate)))?"
)
"""Finds the numbers in `Overflow.message`."""
ESTIMATE = "an estimate: the vendor gives no count"


class Overflow(msgspec.Struct, frozen=True, kw_only=True):
    """`tokens` exceeds `tokens_max`. `tokens_output` is the part of `tokens` that is the output limit, for vendors that
    count it.
    """

    tokens: int
    tokens_max: int
    tokens_output: int = 0
    estimated: bool = False

    @property
    def message(self) -> str:
        """The message in OpenAI's words, which clients of most APIs look for."""
        return f"This model's maximum context length is {self.tokens_max} tokens. However, {self._asked()}"

    def error(self) -> ContextLengthExceeded:
        """The error; its details are these fields."""
        error = ContextLengthExceeded(self.message)
        error.details = {name: str(value) for name, value in msgspec.structs.asdict(self).items() if value}
        return error

    @classmethod
    def told_by(cls, error: ErrorBody) -> Self | None:
        """The numbers of an error. Postgres keeps only its code and message, so they are read from the message if there are
        no details; None if the message has none either.
        """
        if error.code != ContextLengthExceeded.code:
            return None
        found = KEPT.search(error.message)
        known = error.details if "tokens" in (error.details or {}) else found and found.groupdict()
        if not known:
            return None
        return cls(
            tokens=int(known["tokens"]),
            tokens_max=int(known["tokens_max"]),
            tokens_output=int(known.get("tokens_output") or 0),
            estimated=bool(known.get("estimated")),
        )

    def _asked(self) -> str:
        if self.tokens_output:
            return (
                f"you requested {self.tokens} tokens ({self.tokens - self.tokens_output} in the messages, "
                f"{self.tokens_output} in the completion). Please reduce the length of the messages or completion."
            )
        note = f" ({ESTIMATE})" if self.estimated else ""
        advice = "Please reduce the length of the messages, or take a model with a larger window."
        return f"your messages resulted in {self.tokens} tokens{note}. {advice}"
