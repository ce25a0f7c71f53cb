"""Reads the numbers of tokens from vendors' messages about too long prompts, if the numbers make sense; nothing else of
the text is kept.
"""

from __future__ import annotations

import re

from shared.errors import ContextLengthExceeded
from shared.overflow import Overflow

N = r"\d{1,9}"
PARTS = rf"(?: \([^()]{{0,99}}?(?P<output>{N}) in the completion)?"
COUNTED = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        # OpenAI, DeepSeek; the second counts the output limit, too
        rf"(?:maximum context length is|configured limit of) (?P<most>{N}) tokens.{{0,40}}? resulted in (?P<all>{N}) tokens",
        rf"length is (?P<most>{N}) tokens.{{0,40}}? requested (?:about )?(?P<all>{N}) tokens{PARTS}",
        # Claude; the second counts the output limit, too
        rf"prompt is too long: (?P<all>{N}) tokens > (?P<most>{N}) maximum",
        rf"exceed context limit: (?P<input>{N}) \+ (?P<output>{N}) > (?P<most>{N})",
        # Titan | Command | Gemini
        rf"max input tokens: (?P<most>{N}), request input token count: (?P<all>{N})",
        rf"cannot exceed (?P<most>{N}) - received (?P<all>{N})",
        rf"input token count \(?(?P<all>{N})\)? exceeds the maximum number of tokens allowed \(?(?P<most>{N})",
    )
)
"""Patterns of messages that LiteLLM's and the vendors' own documents quote (read 2026-11)."""
UNCOUNTED = "Messages and output limit do not fit into the model's context window: shorten them."


def too_long(prose: str = "") -> ContextLengthExceeded:
    """The error for a prompt that is too long, with the numbers if the vendor gives them."""
    for form in COUNTED:
        found = form.search(prose)
        if found is None:
            continue
        numbers = {name: int(number) for name, number in found.groupdict(default="0").items()}
        output = numbers.get("output", 0)
        tokens = numbers.get("all") or numbers["input"] + output
        if output < tokens and tokens > numbers["most"]:
            return Overflow(tokens=tokens, tokens_max=numbers["most"], tokens_output=output).error()
    return ContextLengthExceeded(UNCOUNTED)
