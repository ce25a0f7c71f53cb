"""Which tests run in one process, one after the other, and which begin first, when several processes run them.

Tests that share a system which is dear to start form a group, and a group runs in one process. Elsewhere each file is a
group of its own.
"""

from __future__ import annotations

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

HALF = "the other half of tests/e2e/"
"""One process would take longer with all of that folder than the others with everything else."""
SHARING = ("tests/faults/", "tests/e2e/", HALF, "tests/clients/", "tests/console/", "tests/conformance/")
"""Folders whose tests share a system, in the order in which they begin: what takes longest comes first."""
APART = {
    "tests/e2e/test_all_models.py": "make run",
    "tests/e2e/test_callers_faults.py": "make run",
    "tests/e2e/test_thoughts.py": "make run",
    "tests/e2e/test_batch_export.py": "exports",
    "tests/e2e/test_make_run.py": "make run",
    "tests/e2e/test_start.py": "starts",
    "tests/e2e/test_supervisor.py": "supervisor",
    "tests/e2e/test_upstreams.py": "failing keys",
    "tests/faults/test_bytes_in.py": "large bodies",
    "tests/faults/test_fallbacks.py": "fallbacks",
    "tests/faults/test_secrets_rotated.py": "secrets",
    "tests/faults/test_turns.py": "turns",
    "tests/faults/test_upstreams.py": "upstreams",
    "tests/e2e/test_after_throttling.py": HALF,
    "tests/e2e/test_anthropic.py": HALF,
    "tests/e2e/test_batch_cli.py": HALF,
    "tests/e2e/test_batch_rates.py": HALF,
    "tests/e2e/test_batches.py": HALF,
    "tests/e2e/test_billing.py": HALF,
    "tests/e2e/test_bodies.py": HALF,
    "tests/e2e/test_bytes_out.py": HALF,
    "tests/e2e/test_caching.py": HALF,
    "tests/e2e/test_chains.py": HALF,
    "tests/e2e/test_openai_batches.py": HALF,
    "tests/e2e/test_overlay.py": HALF,
    "tests/e2e/test_prices.py": HALF,
    "tests/e2e/test_uploads.py": HALF,
}
"""Files there that are another group than their folder, and the group's name: most start a system of their own; those of HALF
start one more like that of the folder, and are all that want one with an overlay."""
ENDING = "tests/e2e/test_make_run.py"
"""It ends the service that it shares, so it comes after the other files of its group."""
LEASE = re.compile(r"lease \d+ s")


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """Gives a process whole groups."""

    def _split_scope(self, nodeid: str) -> str:
        """The proofs of each lease have a cluster, so they are a group."""
        return f"{_group_of(nodeid)} {lease_of(nodeid)}"


def lease_of(nodeid: str) -> str:
    """The lease of the cluster of a proof, as its parameter names it; empty for other tests."""
    found = LEASE.search(nodeid)
    return found.group().removeprefix("lease ") if found else ""


def turn_of(item: pytest.Item) -> int:
    """The place of a test's group: a smaller one begins earlier."""
    if item.nodeid.startswith(ENDING):
        return len(SHARING) + 1
    group = _group_of(item.nodeid)
    if group in SHARING:
        return SHARING.index(group)
    return len(SHARING) if group in APART.values() else len(SHARING) + 2


def _group_of(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return APART.get(file) or next((folder for folder in SHARING if file.startswith(folder)), file)
