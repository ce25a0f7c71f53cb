"""What one object of the chart names of another is there: pods that are selected, ports, services, paths that are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.deployment.tools import unless

Objects = list[dict[str, Any]]
Look = Callable[[dict[str, Any], Objects], Iterator[str]]
PROBED = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
HOOKS = {"pre-install", "pre-upgrade"}


def probes(container: dict[str, Any]) -> Iterator[str]:
    """The probes of a container ask a port that it has for a path that is served there."""
    ports = {port["name"] for port in container["ports"]}
    for kind, path in PROBED.items():
        asked = container[f"{kind}Probe"]["httpGet"]
        yield from unless(asked["port"] in ports, "a probe asks a port that is not there")
        yield from unless(asked["path"] == path, f"its {kind} probe asks for {asked['path']} instead of {path}")


def listens(container: dict[str, Any], variables: dict[str, str]) -> Iterator[str]:
    """The process listens for other pods, on the ports that its container has."""
    for port in container["ports"]:
        host, number = ("METRICS_HOST", "METRICS_PORT") if port["name"] == "metrics" else ("HOST", "PORT")
        yield from unless(variables.get(host) == "0.0.0.0", f"{host} lets no other pod in")
        yield from unless(variables.get(number) == str(port["containerPort"]), f"{number} is not its port")


def migration_hook(one: dict[str, Any]) -> Iterator[str]:
    """The Job runs before the pods that wait for it."""
    hooks = set(one["metadata"].get("annotations", {}).get("helm.sh/hook", "").split(","))
    yield from unless(hooks == HOOKS, "it does not run before install and upgrade")


def _service(one: dict[str, Any], objects: Objects) -> Iterator[str]:
    ports = _ports(one["spec"]["selector"], objects)
    for port in one["spec"]["ports"]:
        yield from unless(port["targetPort"] in ports, f"no pod has its port {port['targetPort']}")


def _network_policy(one: dict[str, Any], objects: Objects) -> Iterator[str]:
    ports = set(_ports(one["spec"]["podSelector"]["matchLabels"], objects).values())
    yield from unless(bool(ports), "it selects no pod")
    for rule in one["spec"].get("ingress", ()):
        for port in rule["ports"]:
            yield from unless(port["port"] in ports, f"it lets in to port {port['port']}, which no pod has")


def _service_monitor(one: dict[str, Any], objects: Objects) -> Iterator[str]:
    selector = one["spec"]["selector"]["matchLabels"].items()
    found = [other for other in _of("Service", objects) if selector <= other["metadata"]["labels"].items()]
    ports = {port["name"] for service in found for port in service["spec"]["ports"]}
    yield from _scrapes(one["spec"]["endpoints"], ports)


def _pod_monitor(one: dict[str, Any], objects: Objects) -> Iterator[str]:
    ports = set(_ports(one["spec"]["selector"]["matchLabels"], objects))
    yield from _scrapes(one["spec"]["podMetricsEndpoints"], ports)


def _scrapes(endpoints: list[dict[str, Any]], ports: set[str]) -> Iterator[str]:
    for endpoint in endpoints:
        yield from unless(endpoint["port"] in ports, f"nothing that it selects has a port {endpoint['port']}")
        yield from unless(endpoint["path"] == "/metrics", f"nobody serves {endpoint['path']}")


def _ingress(one: dict[str, Any], objects: Objects) -> Iterator[str]:
    for rule in one["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            there = service["port"]["name"] in _service_ports(service["name"], objects)
            yield from unless(there, f"there is no service {service['name']} with that port")


def _horizontal_autoscaler(one: dict[str, Any], objects: Objects) -> Iterator[str]:
    names = {other["metadata"]["name"] for other in _of("Deployment", objects)}
    yield from unless(one["spec"]["scaleTargetRef"]["name"] in names, "nothing has the name that it scales")


def _scaled_object(one: dict[str, Any], objects: Objects) -> Iterator[str]:
    for trigger in one["spec"]["triggers"]:
        address = urlsplit(trigger["metadata"]["url"])
        ports = _service_ports(str(address.hostname).partition(".")[0], objects).values()
        yield from unless(address.port in ports, f"there is no service at {address.netloc}")
        yield from unless(address.path == "/scale", f"nobody serves {address.path}")


def _budget(one: dict[str, Any], _: Objects) -> Iterator[str]:
    yield from unless(one["spec"].get("maxUnavailable") == 1, "a node could not be drained, or all pods at once")


def _config_map(one: dict[str, Any], _: Objects) -> Iterator[str]:
    strange = [name for name in one.get("data", {}) if not name.endswith(".json")]
    yield from unless(not strange, f"{strange} is no dashboard: a secret belongs into a Secret")


LOOKS: dict[str, Look] = {
    "PodDisruptionBudget": _budget,
    "ConfigMap": _config_map,
    "Service": _service,
    "NetworkPolicy": _network_policy,
    "ServiceMonitor": _service_monitor,
    "PodMonitor": _pod_monitor,
    "Ingress": _ingress,
    "HorizontalPodAutoscaler": _horizontal_autoscaler,
    "ScaledObject": _scaled_object,
}


def _of(kind: str, objects: Objects) -> Objects:
    return [one for one in objects if one["kind"] == kind]


def _ports(selector: dict[str, str], objects: Objects) -> dict[str, int]:
    """Names and numbers of the ports of all pods that have these labels."""
    templates = [one["spec"]["template"] for one in _of("Deployment", objects)]
    return {
        port["name"]: port["containerPort"]
        for template in templates
        if selector.items() <= template["metadata"]["labels"].items()
        for port in template["spec"]["containers"][0]["ports"]
    }


def _service_ports(name: str, objects: Objects) -> dict[str, int]:
    """Names and numbers of the ports of the service of this name."""
    found = [one for one in _of("Service", objects) if one["metadata"]["name"] == name]
    return {port["name"]: port["port"] for one in found for port in one["spec"]["ports"]}
