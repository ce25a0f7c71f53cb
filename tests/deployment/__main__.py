"""`make check-deploy`: each check with what it says; exit status 1 when one is not content."""

from __future__ import annotations

import sys

from tests.deployment.checks import CHECKS
from tests.deployment.tools import TOOLS
from tests.harness.running import PROJECT

NEVER_RUN = """\
never run here: the image (no container engine builds or starts it), the compose file, the chart in a cluster, KEDA,
the Prometheus operator, NetworkPolicies, Grafana. All of it is written and validated; try it in a cluster of your
own before you rely on it."""


def main() -> int:
    """Run all checks, those whose tools are there."""
    bad = 0
    for check in CHECKS:
        missing = [tool for tool in check.tools if not (TOOLS / tool).exists()]
        if missing:
            print(f"left out  {check.title}: {', '.join(missing)} is not on this machine")
            continue
        said = check.look(PROJECT)
        print(f"{'BAD ' if said else 'good'}      {check.title}")
        for line in said:
            print(f"          {line}")
        bad += bool(said)
    print(NEVER_RUN)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
