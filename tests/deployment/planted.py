"""A fault in a file that is deployed is found by the check it belongs to. Run by `make check-deploy`, which has the tools."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.deployment import checks
from tests.deployment.chart import CHART
from tests.deployment.checks import CHECKS
from tests.deployment.tools import TOOLS
from tests.harness.running import PROJECT

ALERTS = str(checks.ALERTS)
FILES = ("deploy", "requirements.lock", "pyproject.toml", "tests/deployment/alerts_test.yaml")


class Fault(NamedTuple):
    """`text` of a file is `instead` something else, and `look` says `said`."""

    title: str
    file: str
    text: str
    instead: str
    look: Callable[[Path], list[str]]
    said: str


FAULTS = (
    Fault("root", "deploy/Dockerfile", "USER 10001:10001\n", "", checks.image, "as root"),
    Fault(
        "no hashes",
        "deploy/Dockerfile",
        "pip install --no-cache-dir --require-hashes",
        "pip install",
        checks.image,
        "hashes",
    ),
    Fault("cd", "deploy/Dockerfile", "WORKDIR /src", "WORKDIR src", checks.image, "DL3000"),
    Fault("other version", "deploy/requirements-image.lock", "aiohttp==", "aiohttp==9", checks.image_lock, "aiohttp"),
    Fault("misspelt", "deploy/compose.yaml", "interval: 5s", "intervall: 5s", checks.compose, "intervall"),
    Fault("cut off", "deploy/compose.yaml", 'DRAIN_S: "600"', 'DRAIN_S: "900"', checks.compose, "before its drain"),
    Fault("evicts", "deploy/compose.yaml", "noeviction", "allkeys-lru", checks.compose, "evict"),
    Fault("schema", f"{CHART}/values.yaml", "minReplicas: 1\n", "minReplicas: 0\n", checks.chart_lints, "minReplicas"),
    Fault(
        "a key in values",
        f"{CHART}/values.yaml",
        "settings: {}\n",
        "settings: {OPENAI_API_KEY: x}\n",
        checks.chart_lints,
        "OPENAI_API_KEY",
    ),
    Fault("unknown field", f"{CHART}/templates/web.yaml", "maxSurge", "maxSurges", checks.chart_objects, "maxSurges"),
    Fault(
        "grace",
        f"{CHART}/templates/workers.yaml",
        "add $.Values.drainSeconds $.Values.graceSeconds",
        "add 30",
        checks.chart_objects,
        "before their drain",
    ),
    Fault(
        "writable",
        f"{CHART}/templates/_helpers.tpl",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        checks.chart_objects,
        "can be written",
    ),
    Fault(
        "no setting",
        f"{CHART}/values.yaml",
        "BATCH_SLOTS_RESERVED",
        "BATCH_SLOT_RESERVED",
        checks.chart_objects,
        "no setting",
    ),
    Fault(
        "wrong value",
        f"{CHART}/values.yaml",
        'PROVIDER_SHARE_PERCENT: "100"',
        'PROVIDER_SHARE_PERCENT: "101"',
        checks.chart_objects,
        "PROVIDER_SHARE_PERCENT",
    ),
    Fault(
        "other queue",
        f"{CHART}/values.yaml",
        'scaleOn: ["openai:interactive"]',
        'scaleOn: ["gemini"]',
        checks.chart_objects,
        "do not serve",
    ),
    Fault(
        "KEDA's field",
        f"{CHART}/templates/workers.yaml",
        "minReplicaCount",
        "minReplicas",
        checks.chart_objects,
        "minReplicas",
    ),
    Fault(
        "no mount",
        f"{CHART}/templates/migrate.yaml",
        'dict "DATABASE_URL" $database',
        'dict "OTHER" $database',
        checks.chart_objects,
        "not mounted",
    ),
    Fault(
        "other port",
        f"{CHART}/templates/web.yaml",
        "targetPort: http}",
        "targetPort: web}",
        checks.chart_objects,
        "no pod has its port",
    ),
    Fault("other stage", "deploy/Dockerfile", "--from=build /opt", "--from=built /opt", checks.image, "DL3022"),
    Fault(
        "no such service",
        "deploy/compose.yaml",
        "migrate: {condition",
        "migrated: {condition",
        checks.compose,
        "migrated is not among the services",
    ),
    Fault(
        "no such secret",
        "deploy/compose.yaml",
        "redis_url, openai_api_key]",
        "redis_url, openai_key]",
        checks.compose,
        "openai_key is not among the secrets",
    ),
    Fault(
        "file not there",
        "deploy/compose.yaml",
        "REDIS_URL_FILE: /run/secrets/redis_url",
        "REDIS_URL_FILE: /run/secrets/redis",
        checks.compose,
        "/run/secrets/redis is not mounted",
    ),
    Fault(
        "probe",
        f"{CHART}/templates/_helpers.tpl",
        "livenessProbe: {httpGet: {path: /healthz",
        "livenessProbe: {httpGet: {path: /health",
        checks.chart_objects,
        "nobody serves",
    ),
    Fault(
        "closed port",
        f"{CHART}/templates/networkpolicy.yaml",
        "port: 8080}",
        "port: 8081}",
        checks.chart_objects,
        "port 8081, which no pod has",
    ),
    Fault(
        "capabilities",
        f"{CHART}/templates/_helpers.tpl",
        "drop: [ALL]",
        "drop: [CHOWN]",
        checks.chart_objects,
        "keeps capabilities",
    ),
    Fault(
        "token",
        f"{CHART}/templates/_helpers.tpl",
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        checks.chart_objects,
        "a token of the cluster",
    ),
    Fault(
        "scaler's address",
        f"{CHART}/templates/workers.yaml",
        "{{ $base }}-web-metrics.",
        "{{ $base }}-metrics.",
        checks.chart_objects,
        "no service at",
    ),
    Fault(
        "migrations too late",
        f"{CHART}/templates/migrate.yaml",
        "helm.sh/hook: pre-install,pre-upgrade",
        "helm.sh/hook: post-install,post-upgrade",
        checks.chart_objects,
        "before install",
    ),
    Fault(
        "monitors no service",
        f"{CHART}/templates/monitoring.yaml",
        '"web-metrics"',
        '"web-metric"',
        checks.chart_objects,
        "nothing that it selects",
    ),
    Fault(
        "monitors no pod",
        f"{CHART}/templates/monitoring.yaml",
        '"rebootml/role" "worker"',
        '"rebootml/role" "workers"',
        checks.chart_objects,
        "nothing that it selects",
    ),
    Fault(
        "ingress to nowhere",
        f"{CHART}/templates/web.yaml",
        "service: {name: {{ $name }}, port",
        "service: {name: {{ $name }}s, port",
        checks.chart_objects,
        "no service",
    ),
    Fault(
        "no rules",
        f"{CHART}/templates/monitoring.yaml",
        'Get "files/alerts.yaml"',
        'Get "files/alert.yaml"',
        checks.chart_objects,
        "is not of type",
    ),
    Fault(
        "no patience",
        ALERTS,
        "> 10\n        for: 5m\n",
        "> 10\n",
        checks.alerts,
        "RebootmlQueueOld",
    ),
    Fault("expression", ALERTS, "absent(rebootml_streams)", "absent(rebootml_streams", checks.alerts, "parse"),
    Fault("threshold", ALERTS, "> 0.2 * sum", "> 0.9 * sum", checks.alerts, "RebootmlVendorErrors"),
    Fault("untried", ALERTS, "alert: RebootmlClockOff", "alert: RebootmlClock", checks.alerts, "not tried"),
    Fault(
        "panel",
        f"{CHART}/files/dashboards/rebootml.json",
        "max(rebootml_upstreams_differing)",
        "max(rebootml_upstreams_differing",
        checks.dashboards,
        "parse",
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_a_fault_is_found(fault: Fault, tmp_path: Path) -> None:
    check = next(check for check in CHECKS if check.look is fault.look)
    if missing := [tool for tool in check.tools if not (TOOLS / tool).exists()]:
        pytest.skip(f"{', '.join(missing)} is not on this machine")
    for name in FILES:
        source, target = PROJECT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    path = tmp_path / fault.file
    text = path.read_text()
    assert fault.text in text
    path.write_text(text.replace(fault.text, fault.instead))
    assert fault.said in "\n".join(check.look(tmp_path))
