"""What helm renders of the chart: Kubernetes' schemas, small ones of our own, and what the deployment relies on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from shared.lanes import short_name
from shared.secret_files import SUFFIX
from shared.setting_values import queue_list
from tests.deployment import links
from tests.deployment.reach import reach
from tests.deployment.tools import AFTER_DRAIN_S, STORES, TOOLS, refused, run, told, unless
from tests.harness.running import PROJECT

CHART = Path("deploy/helm/rebootml")
ALL_ON = {
    "keda.enabled": "true",
    "web.ingress.enabled": "true",
    "web.ingress.host": "llm.example.com",
    "web.ingress.tlsSecret": "tls",
    "monitoring.serviceMonitor.enabled": "true",
    "monitoring.prometheusRule.enabled": "true",
    "monitoring.dashboards.enabled": "true",
    "secrets.migrateDatabaseUrl.name": "direct",
    "secrets.migrateDatabaseUrl.key": "url",
    "networkPolicy.postgres.cidrs[0]": "10.0.0.0/16",
    "networkPolicy.traces.ports[0]": "4318",
    "settings.TRACES": "1",
    "settings.OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector.monitoring:4318",
    "settings.LOG_LEVEL": "warning",
    "settings.PUBLIC_URL": "https://llm.example.com",
}
ALL_OFF = {"web.autoscaling.enabled": "false", "networkPolicy.enabled": "false"}

NUMBER = ("--set-json", "settings.QUEUE_BYTES_MAX=268435456")
"""A number from a file of values, which helm would write as 2.68435456e+08."""

WAYS: dict[str, dict[str, str]] = {"as it comes": {}, "all on": ALL_ON, "all off": ALL_OFF}


def rendered_well(root: Path, values: dict[str, str]) -> Iterator[str]:
    """Complaints about what these values make of the chart."""
    given = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    ran = run(TOOLS / "helm", "template", "one", root / CHART, "--namespace", "llm", *NUMBER, *given)
    if ran.returncode:
        yield ran.stderr.strip()
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(ran.stdout)
        file.flush()
        yield from told(TOOLS / "kubernetes-validate", "--strict", "--no-warn", "--quiet", file.name)
    objects = [one for one in yaml.safe_load_all(ran.stdout) if one]
    for one in objects:
        where = f"{one['kind']} {one['metadata']['name']}"
        yield from (f"{where}: {problem}" for problem in _unlike_its_schema(one))
        for looks in (_LOOKS, links.LOOKS):
            if look := looks.get(one["kind"]):
                yield from (f"{where}: {problem}" for problem in look(one, objects))


def _unlike_its_schema(one: dict[str, Any]) -> Iterator[str]:
    kinds = json.loads((PROJECT / "tests/deployment/custom_kinds.json").read_text())
    schema = kinds.get(f"{one['apiVersion']} {one['kind']}")
    if schema:
        yield from (error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(one))
    elif "." in one["apiVersion"] and not one["apiVersion"].partition("/")[0].endswith(".k8s.io"):
        yield "nobody knows its schema"


def _pods(one: dict[str, Any], objects: list[dict[str, Any]]) -> Iterator[str]:
    pod = one["spec"]["template"]["spec"]
    yield from unless(pod["securityContext"].get("runAsNonRoot") is True, "its pods may run as root")
    yield from unless(pod["securityContext"].get("runAsUser") == 10001, "its user is not that of the image")
    yield from unless(pod.get("automountServiceAccountToken") is False, "its pods have a token of the cluster's API")
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        security = container["securityContext"]
        yield from unless(security.get("readOnlyRootFilesystem") is True, "its root can be written")
        yield from unless(security.get("allowPrivilegeEscalation") is False, "it may become more than it is")
        yield from unless(security.get("capabilities") == {"drop": ["ALL"]}, "it keeps capabilities")
        yield from unless("memory" in container["resources"]["limits"], "its memory has no limit")
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        yield from unless(mounted <= volumes, f"volumes are missing: {mounted - volumes}")
        stores = STORES[:1] if container["name"] == "migrate" else STORES
        yield from refused({entry["name"]: entry["value"] for entry in container["env"]}, stores)
        yield from _missing_files(container["env"], pod["volumes"])
    yield from reach(one, objects)
    yield from links.migration_hook(one) if one["kind"] == "Job" else _runs_on(one, objects)


def _runs_on(one: dict[str, Any], objects: list[dict[str, Any]]) -> Iterator[str]:
    """What pods need that run until they are stopped."""
    template = one["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    container = pod["containers"][0]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed_s = int(variables["DRAIN_S"]) + before_s + AFTER_DRAIN_S
    yield from unless(pod["terminationGracePeriodSeconds"] >= needed_s, "its pods are killed before their drain ends")
    yield from links.probes(container)
    yield from links.listens(container, variables)
    yield from unless(
        one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "a rollout takes pods away first"
    )
    selector = one["spec"]["selector"]["matchLabels"]
    yield from unless(selector.items() <= labels.items(), "it does not select its own pods")
    budgets = [other["spec"]["selector"]["matchLabels"] for other in objects if other["kind"] == "PodDisruptionBudget"]
    yield from unless(selector in budgets, "it has no PodDisruptionBudget")
    waits = [first["command"][:3] for first in pod.get("initContainers", ())]
    yield from unless(["rebootml", "migrate", "--wait"] in waits, "its pods do not wait for the migrations")


def _scaled(one: dict[str, Any], objects: list[dict[str, Any]]) -> Iterator[str]:
    spec = one["spec"]
    scaled = [
        other
        for other in objects
        if other["kind"] == "Deployment" and other["metadata"]["name"] == spec["scaleTargetRef"]["name"]
    ]
    if not scaled:
        yield "nothing has the name that it scales"
        return
    variables = {
        entry["name"]: entry["value"] for entry in scaled[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    served = {short_name(queue) for queue in queue_list(variables["WORKER_QUEUES"])}
    providers = {queue.partition(":")[0] for queue in served}
    for trigger in spec["triggers"]:
        key = trigger["metadata"]["valueLocation"].removeprefix("slots_wanted.")
        yield from unless(key in served | providers | {"\\*"}, f"it scales by {key}, which its workers do not serve")
        yield from unless(
            int(trigger["metadata"]["targetValue"]) <= int(variables["WORKER_SLOTS"]),
            "a worker is to have more work than slots",
        )
    keys = {trigger["metadata"]["valueLocation"].removeprefix("slots_wanted.") for trigger in spec["triggers"]}
    left_out = {queue for queue in served if keys.isdisjoint({queue, queue.partition(":")[0], "\\*"})}
    yield from unless(not left_out, f"it does not scale by {sorted(left_out)}")
    added = spec["advanced"].get("scalingModifiers", {}).get("formula", spec["triggers"][0]["name"]).split(" + ")
    yield from unless(
        added == [trigger["name"] for trigger in spec["triggers"]], "its formula does not add up all queues"
    )
    yield from unless("replicas" not in scaled[0]["spec"], "each upgrade would undo its scaling")


_LOOKS: dict[str, links.Look] = {"Deployment": _pods, "Job": _pods, "ScaledObject": _scaled}


def _missing_files(env: list[dict[str, str]], volumes: list[dict[str, Any]]) -> Iterator[str]:
    projected = next(volume["projected"]["sources"] for volume in volumes if volume["name"] == "secrets")
    there = {f"/run/rebootml/{item['path']}" for source in projected for item in source["secret"]["items"]}
    asked = {entry["value"] for entry in env if entry["name"].endswith(SUFFIX)}
    yield from (f"{path} is not mounted" for path in sorted(asked - there))
