from __future__ import annotations

import hiredis
import pytest

from shared.stores.redis_connections import LARGE_BYTES, packed


@pytest.mark.parametrize("size", [0, 3, LARGE_BYTES, LARGE_BYTES + 1])
def test_a_command_is_packed_alike_whatever_its_size(size: int) -> None:
    command = ("EVALSHA", "ä", 2, 0.5, -1, b"\r\n$", b"x" * size)
    assert packed(*command) == hiredis.pack_command(command)  # type: ignore[arg-type] # typed for commands of one word
