"""Patterns of texts, with the words that whoever breaks one is told instead of the expression."""

from __future__ import annotations

import re

OTHER_FORM = "text of another form"
_WORDS: dict[str, str] = {}
_SHOWN = re.compile(r"`str` matching regex (?P<pattern>'.*'|\".*\")(?=( - at `.*)?\Z)", re.DOTALL)


def told_as(words: str, pattern: str) -> str:
    """The pattern; what breaks it is told to be none of `words`."""
    _WORDS[repr(pattern)] = words
    return pattern


def words_for(pattern: str) -> str:
    """What text of that pattern is."""
    return _WORDS.get(repr(pattern), OTHER_FORM)


def in_words(told: str) -> str:
    """What msgspec says of a value, without an expression and without the number of a standard.

    >>> _ = told_as("a lot of x", "^x+$")
    >>> in_words("Expected `str` matching regex '^x+$' - at `$.a`")
    'Expected a lot of x - at `$.a`'
    """
    told = told.replace("Invalid RFC3339 encoded datetime", "Expected a time such as 2027-01-31T12:00:00Z")
    return _SHOWN.sub(lambda found: _WORDS.get(found["pattern"], OTHER_FORM), told)
