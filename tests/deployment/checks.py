"""What `make check-deploy` looks at: the image, the compose file, the chart as helm renders it, alerts and dashboards.

A check takes the root of a checkout and gives complaints, none if all is well. Its tools are in `.venv-deploy`
(`install.sh`); nothing is asked of a network, an engine or a cluster.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml

from deploy import dashboard
from shared.lanes import short_name
from shared.secret_files import SUFFIX
from shared.settings import Settings, SettingsError, queue_list
from tests.harness.running import PROJECT

TOOLS = PROJECT / ".venv-deploy" / "bin"
CHART = Path("deploy/helm/rebootml")
ALERTS = CHART / "files/alerts.yaml"
AFTER_DRAIN_S = 20
"""A worker's last words and its settlements, each up to ten seconds."""
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


class Check(NamedTuple):
    """`tools` that it cannot do without."""

    title: str
    tools: tuple[str, ...]
    look: Callable[[Path], list[str]]


def image(root: Path) -> list[str]:
    """The Dockerfile: hadolint, and what the deployment relies on."""
    path = root / "deploy/Dockerfile"
    text = path.read_text()
    said = _told(TOOLS / "hadolint", "--no-color", path)
    final = text.rpartition("\nFROM ")[2]
    said += _unless("USER 10001" in final, "the image runs as root")
    said += _unless("HEALTHCHECK " in final, "the image has no health check")
    installs = re.findall(r"pip install [^&\n]*", text.replace("\\\n", " "))
    hashed = [line for line in installs if "--require-hashes" in line or "--no-deps" in line]
    return said + _unless(hashed == installs, "something is installed without hashes")


def image_lock(root: Path) -> list[str]:
    """What the image installs is a part of the project's lock, hash by hash."""
    whole, part = (_locked(root / name) for name in ("requirements.lock", "deploy/requirements-image.lock"))
    said = [f"{name} is not as in requirements.lock: run `make lock`" for name in part if whole.get(name) != part[name]]
    wanted = re.findall(
        r'^    "([\w-]+)', (root / "pyproject.toml").read_text().partition("[project.optional")[0], re.MULTILINE
    )
    return said + [f"{name} is not in the image: run `make lock`" for name in wanted if name not in part]


def compose(root: Path) -> list[str]:
    """The compose file: its specification, then what our services promise."""
    path = root / "deploy/compose.yaml"
    merged = json.dumps(yaml.safe_load(path.read_text()))
    read = "import sys, compose_spec; compose_spec.PyCompose.from_json(sys.stdin.read())"
    said = _told(TOOLS / "python", "-c", read, stdin=merged)
    services: dict[str, Any] = json.loads(merged)["services"]
    for name, service in services.items():
        if "build" not in service:
            continue
        for field, value in {"read_only": True, "cap_drop": ["ALL"], "user": "10001:10001"}.items():
            said += _unless(service.get(field) == value, f"{name}: {field} is not {value}")
        variables = service["environment"]
        grace_s, drain_s = int(service["stop_grace_period"].removesuffix("s")), int(variables["DRAIN_S"])
        said += _unless(grace_s >= drain_s + AFTER_DRAIN_S, f"{name}: it is killed before its drain ends")
        said += [f"{name}: {problem}" for problem in _refused(variables)]
    said += _unless("noeviction" in services["valkey"]["command"], "valkey may evict jobs")
    return said


def chart_lints(root: Path) -> list[str]:
    """`helm lint`, and the values against their schema."""
    return _told(TOOLS / "helm", "lint", "--strict", "--quiet", root / CHART)


def chart_objects(root: Path) -> list[str]:
    """What helm renders, with little and with everything switched on: Kubernetes' schemas, ours, and what we rely on."""
    return [f"{title}: {problem}" for title, values in _WAYS.items() for problem in _rendered_well(root, values)]


def alerts(root: Path) -> list[str]:
    """promtool reads the alerts, fires each once, and sees it quiet once."""
    said = _told(TOOLS / "promtool", "check", "rules", root / ALERTS)
    tests = yaml.safe_load((root / "tests/deployment/alerts_test.yaml").read_text())["tests"]
    tried = {test["name"] for test in tests}
    rules = [
        rule["alert"] for group in yaml.safe_load((root / ALERTS).read_text())["groups"] for rule in group["rules"]
    ]
    said += [
        f"{rule} is not tried: {how}" for rule in rules for how in ("fires", "quiet") if f"{rule} {how}" not in tried
    ]
    with tempfile.TemporaryDirectory() as folder:
        for path in (root / ALERTS, root / "tests/deployment/alerts_test.yaml"):
            (Path(folder) / path.name).write_bytes(path.read_bytes())
        return said + _told(TOOLS / "promtool", "test", "rules", f"{folder}/alerts_test.yaml")


def dashboards(root: Path) -> list[str]:
    """promtool reads each expression of the dashboards, as if it were a rule."""
    found = json.loads((root / CHART / "files/dashboards" / dashboard.FILE.name).read_text())["panels"]
    expressions = [target["expr"] for panel in found for target in panel.get("targets", ())]
    rules = [
        {"record": f"expression:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
        file.flush()
        return _told(TOOLS / "promtool", "check", "rules", file.name)


CHECKS = (
    Check("image: deploy/Dockerfile", ("hadolint",), image),
    Check("image: what it installs", (), image_lock),
    Check("deploy/compose.yaml", ("python",), compose),
    Check("chart: lint, values and their schema", ("helm",), chart_lints),
    Check("chart: what it renders", ("helm", "kubernetes-validate"), chart_objects),
    Check("alerts, each fired and each quiet", ("promtool",), alerts),
    Check("dashboards", ("promtool",), dashboards),
)
_WAYS: dict[str, dict[str, str]] = {"as it comes": {}, "all on": ALL_ON, "all off": ALL_OFF}


def _rendered_well(root: Path, values: dict[str, str]) -> Iterator[str]:
    given = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    ran = _run(TOOLS / "helm", "template", "one", root / CHART, "--namespace", "llm", *given)
    if ran.returncode:
        yield ran.stderr.strip()
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(ran.stdout)
        file.flush()
        yield from _told(TOOLS / "kubernetes-validate", "--strict", "--no-warn", "--quiet", file.name)
    objects = [one for one in yaml.safe_load_all(ran.stdout) if one]
    for one in objects:
        where = f"{one['kind']} {one['metadata']['name']}"
        for problem in (*_unlike_its_schema(one), *_LOOKS.get(one["kind"], lambda *_: ())(one, objects)):
            yield f"{where}: {problem}"


def _unlike_its_schema(one: dict[str, Any]) -> Iterator[str]:
    kinds = json.loads((PROJECT / "tests/deployment/custom_kinds.json").read_text())
    schema = kinds.get(f"{one['apiVersion']} {one['kind']}")
    if schema:
        yield from (error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(one))
    elif "." in one["apiVersion"] and not one["apiVersion"].partition("/")[0].endswith(".k8s.io"):
        yield "nobody knows its schema"


def _pods(one: dict[str, Any], objects: list[dict[str, Any]]) -> Iterator[str]:
    template = one["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    yield from _unless(pod["securityContext"].get("runAsNonRoot") is True, "its pods may run as root")
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        security = container["securityContext"]
        yield from _unless(security.get("readOnlyRootFilesystem") is True, "its root can be written")
        yield from _unless(security.get("allowPrivilegeEscalation") is False, "it may become more than it is")
        yield from _unless("memory" in container["resources"]["limits"], "its memory has no limit")
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        yield from _unless(mounted <= volumes, f"volumes are missing: {mounted - volumes}")
        yield from _refused({entry["name"]: entry["value"] for entry in container["env"]})
        yield from _missing_files(container["env"], pod["volumes"])
    if one["kind"] != "Deployment":
        return
    container = pod["containers"][0]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed_s = int(variables["DRAIN_S"]) + before_s + AFTER_DRAIN_S
    yield from _unless(pod["terminationGracePeriodSeconds"] >= needed_s, "its pods are killed before their drain ends")
    ports = {port["name"] for port in container["ports"]}
    probed = {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")}
    yield from _unless(probed <= ports, "a probe asks a port that is not there")
    selector = one["spec"]["selector"]["matchLabels"]
    yield from _unless(selector.items() <= labels.items(), "it does not select its own pods")
    budgets = [other["spec"]["selector"]["matchLabels"] for other in objects if other["kind"] == "PodDisruptionBudget"]
    yield from _unless(selector in budgets, "it has no PodDisruptionBudget")
    waits = [first["command"][:3] for first in pod.get("initContainers", ())]
    yield from _unless(["rebootml", "migrate", "--wait"] in waits, "its pods do not wait for the migrations")


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
        yield from _unless(key in served | providers | {"\\*"}, f"it scales by {key}, which its workers do not serve")
        yield from _unless(
            int(trigger["metadata"]["targetValue"]) <= int(variables["WORKER_SLOTS"]),
            "a worker is to have more work than slots",
        )
    yield from _unless("replicas" not in scaled[0]["spec"], "each upgrade would undo its scaling")


def _services(one: dict[str, Any], objects: list[dict[str, Any]]) -> Iterator[str]:
    selector = one["spec"]["selector"].items()
    for port in one["spec"]["ports"]:
        named = {
            other["name"]
            for deployment in objects
            if deployment["kind"] == "Deployment"
            and selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
            for other in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
        }
        yield from _unless(port["targetPort"] in named, f"no pod has its port {port['targetPort']}")


_LOOKS: dict[str, Callable[[dict[str, Any], list[dict[str, Any]]], Iterator[str]]] = {
    "Deployment": _pods,
    "Job": _pods,
    "ScaledObject": _scaled,
    "Service": _services,
}


def _missing_files(env: list[dict[str, str]], volumes: list[dict[str, Any]]) -> Iterator[str]:
    projected = next(volume["projected"]["sources"] for volume in volumes if volume["name"] == "secrets")
    there = {f"/run/rebootml/{item['path']}" for source in projected for item in source["secret"]["items"]}
    asked = {entry["value"] for entry in env if entry["name"].endswith(SUFFIX)}
    yield from (f"{path} is not mounted" for path in sorted(asked - there))


def _refused(variables: dict[str, str]) -> list[str]:
    """What a process would say to these variables, with a file for each secret; and those that no process reads."""
    known = {field.upper() for field in Settings.__struct_fields__} | {"CATALOGUE"}
    strange = [
        name
        for name in variables
        if name not in known and not name.endswith(SUFFIX) and not name.startswith(("AWS_", "OTEL_"))
    ]
    given = {name: value for name, value in variables.items() if not name.endswith(SUFFIX)}
    given |= {"DATABASE_URL": "postgresql://u@h/d", "REDIS_URL": "redis://h/0"}
    try:
        Settings.load(given)
    except SettingsError as error:
        return [*(f"{name} is no setting" for name in strange), str(error)]
    return [f"{name} is no setting" for name in strange]


def _locked(path: Path) -> dict[str, str]:
    """Name by name, version, marker and hashes."""
    return dict(re.findall(r"^([\w.-]+?)(?:\[\w+\])?(==(?:.+\\\n)*.+)$", path.read_text(), re.MULTILINE))


def _unless(is_well: bool, problem: str) -> list[str]:  # noqa: FBT001 - a sentence: unless this, that
    return [] if is_well else [problem]


def _told(*command: object, stdin: str = "") -> list[str]:
    """What a tool says when it is not content."""
    ran = _run(*command, stdin=stdin)
    return [] if ran.returncode == 0 else [(ran.stdout + ran.stderr).strip()]


def _run(*command: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=120, check=False)
