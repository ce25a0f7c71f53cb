"""The data of server-sent events: JSON on one line, whoever splits it."""

from __future__ import annotations

from api.formats.native.answers import json_bytes

LINE_ENDS = {"\u2028": rb"\u2028", "\u2029": rb"\u2029", "\u0085": rb"\u0085"}
"""No line ends in server-sent events, but some clients split lines as Python's `str.splitlines` does."""
_LINE_ENDS = [(character.encode(), escaped) for character, escaped in LINE_ENDS.items()]


def event_data(document: object) -> bytes:
    """As JSON in which those characters are escaped."""
    data = json_bytes(document)
    if data.isascii():
        return data
    for character, escaped in _LINE_ENDS:
        data = data.replace(character, escaped)
    return data
