"""JSON on one line for every reader that splits lines: files of lines, server-sent events, logs."""

from __future__ import annotations

import msgspec

LINE_ENDS = {"\u2028": rb"\u2028", "\u2029": rb"\u2029", "\u0085": rb"\u0085"}
"""Characters that end no line of a file or an event, but at which many readers split, as Python's `str.splitlines`
does. The other such characters are control characters, which JSON always escapes.
"""
_json_bytes = msgspec.json.Encoder().encode
_LF, _CR, _FIRST_OF_THREE, _FIRST_OF_TWO = b"\n\r\xe2\xc2"
_BLANKS = bytes.maketrans(b"\r\n", b"  ")


def json_line(document: object) -> bytes:
    """The document as JSON on one line, without a line end."""
    data = _json_bytes(document)
    return data if data.isascii() and _LF not in data and _CR not in data else one_line(data)


def one_line(data: bytes) -> bytes:
    """The same JSON without any line end. JSON that is passed on unchanged (`msgspec.Raw`) may have line ends between its
    values.
    """
    if _LF in data or _CR in data:
        data = data.translate(_BLANKS)
    # searching for one byte is much faster than for three, and most texts do not contain it
    if _FIRST_OF_THREE in data:
        data = data.replace(b"\xe2\x80\xa8", LINE_ENDS["\u2028"]).replace(b"\xe2\x80\xa9", LINE_ENDS["\u2029"])
    if _FIRST_OF_TWO in data:
        data = data.replace(b"\xc2\x85", LINE_ENDS["\u0085"])
    return data
