"""The SQL functions in force: `sql/functions/` has a file for each concept, which is applied again when its revision
grows.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from shared.stores.postgres import SQL_FOLDER

_REVISION = re.compile(r"-- Revision ([1-9]\d*)\.\n")


class FunctionFile(NamedTuple):
    """One file. Its first line is `-- Revision N.`, and N grows with each change, so that an older release, which also
    migrates, leaves the functions of a newer one alone. `checksum` is the SHA-256 of the text in hex.
    """

    name: str
    revision: int
    sql: str
    checksum: str


def function_files() -> list[FunctionFile]:
    """All files, by name. Raises `ValueError` if one has no revision."""
    found = []
    for path in sorted((SQL_FOLDER / "functions").glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        revision = _REVISION.match(text)
        if revision is None:
            raise ValueError(f"functions/{path.name}: the first line is to be `-- Revision 1.`")
        found.append(FunctionFile(path.stem, int(revision[1]), text, hashlib.sha256(text.encode()).hexdigest()))
    return found
