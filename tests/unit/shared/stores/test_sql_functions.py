from __future__ import annotations

from shared.stores.sql_functions import function_files

NOTED = {
    "batches": (3, "da490f6e610e2c31"),
    "credit": (1, "ac86cfe00b242bd7"),
    "files": (2, "805791e498acc6b9"),
    "keys": (1, "2d364736494947db"),
    "ledger": (1, "171e7111791b4a5b"),
    "partitions": (1, "50aac4f42e464350"),
    "reserve": (1, "3f0b9c485316fa37"),
    "settle": (1, "59a28899d5285c55"),
    "usage": (1, "17b4616fc3cfecb0"),
}
"""By file: its revision and the beginning of its checksum."""


def test_a_file_that_changes_has_a_new_revision() -> None:
    """Else databases that have the old one would keep it. Whoever changes a file notes its next revision here."""
    files = {file.name: (file.revision, file.checksum[:16]) for file in function_files()}
    assert files == NOTED
