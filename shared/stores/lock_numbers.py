"""The numbers of all advisory locks that processes take in Postgres. Processes of two releases run side by side, so a lock
keeps its number.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """One kind of work that only one process does at a time. `SWITCH` and the locks below it are taken in SQL together
    with the hash of their subject.
    """

    MIGRATIONS = 7_201_001
    """Applying migrations, `shared/stores/migrations.py`."""
    EXPIRED_HOLDS = 7_201_002
    """Ending expired holds, `workers/sweeps/holds_and_records.py`."""
    SETTLE_RECORDS = 7_201_003
    """Settling records that a worker left in Redis, `workers/sweeps/holds_and_records.py`."""
    MONTHS = 7_201_004
    """Creating monthly partitions, `workers/sweeps/partitions.py`."""
    RETENTION = 7_201_005
    """Deleting what has expired, `workers/sweeps/retention.py`."""
    BATCH_ENDS = 7_201_006
    """Ending batches, `workers/batches/finish.py`."""
    KEPT_RECORDS = 7_201_007
    """Settling kept records again, `workers/sweeps/settled_records.py`."""
    DAYS = 7_201_009
    """Creating or dropping daily partitions, `shared/stores/migrations.py` and `workers/sweeps/partitions.py`."""
    FILES = 7_201_010
    """Deleting lines of files, `workers/sweeps/files.py`."""
    STRANDED = 7_201_013
    """Moving requests on from queues that nobody serves, `workers/request/stranded.py`."""
    FEEDS = 7_201_100
    """Feeding batches, `workers/batches/feed.py`: this number and those after it, one for each feed."""
    SWITCH = 7_201_020
    """Changing a switch of an operator, `shared/stores/sql/switches.sql`."""
    OPERATOR_REF = 7_201_021
    """An operator's request with a `ref`, `shared/stores/sql/operator_refs.sql`."""
    BATCHES_OF_ACCOUNT = 7_201_200
    """Creating batches of an account, `lock_batches_of` in `shared/stores/sql/functions/files.sql`."""
    FILES_OF_ACCOUNT = 7_201_201
    """Taking room for files of an account, `room_for` in `shared/stores/sql/functions/files.sql`."""
