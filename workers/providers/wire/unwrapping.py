"""Takes the value of the only property out of a JSON object's text while the text is still being written."""

from __future__ import annotations

import re

HEAD_ENDS = re.compile(r"[:,}\]]")
HEAD_MAX = 4_096
"""Most characters before the value; a longer beginning is no such object."""


class Unwrapping:
    """Takes the value out of `{"<name>": <value>}`: feed the text of the object, and get the text of the value. Text
    that begins in another way is passed on unchanged.
    """

    def __init__(self, name: str) -> None:
        self._head = re.compile(rf'\s*\{{\s*"{re.escape(name)}"\s*:\s*')
        self._begun: list[str] = []
        self._begun_length = 0
        self._inside: bool | None = None
        """True once the value has begun, false if the text is no such object; None until that is known."""
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._over = False

    def feed(self, text: str) -> str:
        """The text that can be passed on now."""
        if self._inside is None:
            self._begun.append(text)
            self._begun_length += len(text)
            # the earlier text was searched before
            if not HEAD_ENDS.search(text) and self._begun_length <= HEAD_MAX:
                return ""
            text = self._taken()
            head = self._head.match(text)
            self._inside = head is not None
            text = text[head.end() :] if head else text
        return self._of_value(text) if self._inside else text

    def finish(self) -> str:
        """The text that is left at the end; there is some only if the text was no such object."""
        return self._taken()

    def _taken(self) -> str:
        """The beginning of the text, which may arrive one character at a time."""
        text = "".join(self._begun)
        self._begun.clear()
        return text

    def _of_value(self, text: str) -> str:
        """The text up to the bracket that closes the object, or the comma before another property."""
        if self._over:
            return ""
        for at, character in enumerate(text):
            if self._ends_at(character):
                self._over = True
                return text[:at]
        return text

    def _ends_at(self, character: str) -> bool:
        if self._in_string:
            self._in_string = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]" and self._depth:
            self._depth -= 1
        else:
            return not self._depth and character in "},"
        return False
