"""What the NetworkPolicies of the chart let a pod reach and let reach it, held against what its process needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.deployment.tools import unless

METADATA = "169.254.169.254/32"
"""Where a cloud gives its rights to whoever asks."""
DNS, POSTGRES, REDIS, VENDORS, METRICS, CALLERS = 53, 5432, 6379, 443, 9090, 8080
"""Ports as the chart comes."""
NEEDS: dict[str, tuple[set[int], set[int]]] = {
    "migrate": ({DNS, POSTGRES}, set()),
    "web": ({DNS, POSTGRES, REDIS}, {METRICS, CALLERS}),
    "worker": ({DNS, POSTGRES, REDIS, VENDORS}, {METRICS}),
}
"""By the name of the container: the ports that it asks, and those on which it is asked."""


def reach(one: dict[str, Any], objects: list[dict[str, Any]]) -> Iterator[str]:
    """Complaints about the ports of a pod: closed ones that it needs, and the vendors' where it calls none."""
    policies = [other["spec"] for other in objects if other["kind"] == "NetworkPolicy"]
    if not policies:
        return
    template = one["spec"]["template"]
    labels, name = template["metadata"]["labels"].items(), template["spec"]["containers"][0]["name"]
    held = [policy for policy in policies if policy["podSelector"]["matchLabels"].items() <= labels]
    asks, is_asked = NEEDS[name]
    out, into = _ports(held, "egress"), _ports(held, "ingress")
    yield from unless(asks <= out, f"NetworkPolicies keep it from ports {sorted(asks - out)}")
    yield from unless(is_asked <= into, f"NetworkPolicies let nobody in to its ports {sorted(is_asked - into)}")
    yield from unless(VENDORS in asks or VENDORS not in out, "it may call the internet, but calls no vendor")
    for policy in held:
        for rule in policy.get("egress", ()):
            for peer in rule.get("to", ()):
                block = peer["ipBlock"]
                is_open = block["cidr"] == "0.0.0.0/0" and METADATA not in block.get("except", ())
                yield from unless(not is_open, "it may ask the cloud's metadata address")


def _ports(policies: list[dict[str, Any]], direction: str) -> set[int]:
    return {port["port"] for policy in policies for rule in policy.get(direction, ()) for port in rule["ports"]}
