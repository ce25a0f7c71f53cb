"""Regular expressions for text fields, with words that describe them: a caller whose text does not match is told the words
instead of the expression.
"""

from __future__ import annotations

import re

OTHER_FORM = "text of another form"
_WORDS: dict[str, str] = {}
_SHOWN = re.compile(r"`str` matching regex (?P<pattern>'.*'|\".*\")(?=( - at `.*)?\Z)", re.DOTALL)


def told_as(words: str, pattern: str) -> str:
    """Register the words for a pattern and return the pattern. A text that does not match is reported as "Expected
    `words`".
    """
    _WORDS[repr(pattern)] = words
    return pattern


def words_for(pattern: str) -> str:
    """The words for text that matches this pattern."""
    return _WORDS.get(repr(pattern), OTHER_FORM)


def in_words(told: str) -> str:
    """Replace the regular expression or the number of a standard in msgspec's error message with words.

    >>> _ = told_as("a lot of x", "^x+$")
    >>> in_words("Expected `str` matching regex '^x+$' - at `$.a`")
    'Expected a lot of x - at `$.a`'
    """
    told = told.replace("Invalid RFC3339 encoded datetime", "Expected a time such as 2027-01-31T12:00:00Z")
    return _SHOWN.sub(lambda found: _WORDS.get(found["pattern"], OTHER_FORM), told)
