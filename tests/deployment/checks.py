"""What `make check-deploy` looks at: the image, the compose file, the chart as helm renders it, alerts and dashboards.

A check takes the root of a checkout and gives complaints, none if all is well. Its tools are in `.venv-deploy`
(`install.sh`); nothing is asked of a network, an engine or a cluster.
"""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy import dashboard
from shared.secret_files import SUFFIX
from shared.settings import Settings
from tests.deployment.chart import CHART, WAYS, rendered_well
from tests.deployment.tools import AFTER_DRAIN_S, TOOLS, refused, told, unless

ALERTS = CHART / "files/alerts.yaml"


class Check(NamedTuple):
    """`tools` that it cannot do without."""

    title: str
    tools: tuple[str, ...]
    look: Callable[[Path], list[str]]


def image(root: Path) -> list[str]:
    """The Dockerfile: hadolint, and what the deployment relies on."""
    path = root / "deploy/Dockerfile"
    text = path.read_text()
    said = told(TOOLS / "hadolint", "--no-color", path)
    final = text.rpartition("\nFROM ")[2]
    said += unless("USER 10001" in final, "the image runs as root")
    said += unless("HEALTHCHECK " in final, "the image has no health check")
    said += _copied_and_started(root, text)
    installs = re.findall(r"pip install [^&\n]*", text.replace("\\\n", " "))
    hashed = [line for line in installs if "--require-hashes" in line or "--no-deps" in line]
    return said + unless(hashed == installs, "something is installed without hashes")


def _copied_and_started(root: Path, text: str) -> Iterator[str]:
    """All packages are copied, the command starts one of them, and the image's variables are settings."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    kept = (root / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    yield from (f"{name} is not copied" for name in packages if f"\nCOPY {name} {name}\n" not in text)
    yield from (f"{name} is ignored" for name in packages if f"!{name}" not in kept)
    started = re.findall(r'\nCMD \["python", "-m", "(\w+)"\]', text)
    yield from unless(len(started) == 1 and started[0] in packages, f"its command {started} is no package of ours")
    for line in re.findall(r"\nENV (.*)", text.replace("\\\n", " ")):
        names = [word.partition("=")[0] for word in line.split()]
        settings = {name.upper() for name in Settings.__struct_fields__} | {"PATH", "HOME"}
        yield from (f"{name} is no setting" for name in names if name not in settings and not name.startswith("PYTHON"))


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
    said = told(TOOLS / "python", "-c", read, stdin=merged)
    document = json.loads(merged)
    services: dict[str, Any] = document["services"]
    for name, service in services.items():
        said += [f"{name}: {problem}" for problem in _named_elsewhere(service, document)]
        if "build" not in service:
            continue
        for field, value in {"read_only": True, "cap_drop": ["ALL"], "user": "10001:10001"}.items():
            said += unless(service.get(field) == value, f"{name}: {field} is not {value}")
        said += unless(not service.get("privileged"), f"{name}: it is privileged")
        ports = {port.rpartition(":")[2] for port in service.get("ports", ())}
        said += unless(ports <= {"8080"}, f"{name}: nothing listens on {ports}")
        variables = service["environment"]
        grace_s, drain_s = int(service["stop_grace_period"].removesuffix("s")), int(variables["DRAIN_S"])
        said += unless(grace_s >= drain_s + AFTER_DRAIN_S, f"{name}: it is killed before its drain ends")
        said += [f"{name}: {problem}" for problem in refused(variables)]
    valkey = " ".join(services["valkey"]["command"])
    said += unless("--maxmemory-policy noeviction" in valkey, "valkey may evict jobs")
    said += unless("--appendonly yes" in valkey, "valkey forgets its jobs when it is restarted")
    kept = "postgres:/var/lib/postgresql" in services["postgres"]["volumes"]
    said += unless(kept, "postgres: its books are not kept (from version 18 on they are below /var/lib/postgresql)")
    return said


def _named_elsewhere(service: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    """Services, secrets and volumes that a service names, and files that its variables name, are there."""
    secrets = set(service.get("secrets", ()))
    volumes = {volume.partition(":")[0] for volume in service.get("volumes", ())}
    named = {"services": set(service.get("depends_on", ())), "secrets": secrets, "volumes": volumes}
    for where, names in named.items():
        yield from (f"{name} is not among the {where}" for name in sorted(names - document[where].keys()))
    files = [value for name, value in service.get("environment", {}).items() if name.endswith(SUFFIX)]
    mounted = {f"/run/secrets/{name}" for name in secrets}
    yield from (f"{path} is not mounted" for path in files if path not in mounted)


def chart_lints(root: Path) -> list[str]:
    """`helm lint`, and the values against their schema."""
    return told(TOOLS / "helm", "lint", "--strict", "--quiet", root / CHART)


def chart_objects(root: Path) -> list[str]:
    """What helm renders, with little and with everything switched on: Kubernetes' schemas, ours, and what we rely on."""
    return [f"{title}: {problem}" for title, values in WAYS.items() for problem in rendered_well(root, values)]


def alerts(root: Path) -> list[str]:
    """promtool reads the alerts, fires each once, and sees it quiet once."""
    said = told(TOOLS / "promtool", "check", "rules", root / ALERTS)
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
        return said + told(TOOLS / "promtool", "test", "rules", f"{folder}/alerts_test.yaml")


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
        return told(TOOLS / "promtool", "check", "rules", file.name)


CHECKS = (
    Check("image: deploy/Dockerfile", ("hadolint",), image),
    Check("image: what it installs", (), image_lock),
    Check("deploy/compose.yaml", ("python",), compose),
    Check("chart: lint, values and their schema", ("helm",), chart_lints),
    Check("chart: what it renders", ("helm", "kubernetes-validate"), chart_objects),
    Check("alerts, each fired and each quiet", ("promtool",), alerts),
    Check("dashboards", ("promtool",), dashboards),
)


def _locked(path: Path) -> dict[str, str]:
    """Name by name, version, marker and hashes."""
    return dict(re.findall(r"^([\w.-]+?)(?:\[\w+\])?(==(?:.+\\\n)*.+)$", path.read_text(), re.MULTILINE))
