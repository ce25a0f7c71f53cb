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
        "instead of /healthz",
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
        "Redis shut out",
        f"{CHART}/templates/networkpolicy.yaml",
        "$policy.redis ",
        "",
        checks.chart_objects,
        "from ports [6379]",
    ),
    Fault(
        "no names",
        f"{CHART}/templates/networkpolicy.yaml",
        "    - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]\n",
        "",
        checks.chart_objects,
        "from ports [53]",
    ),
    Fault(
        "metadata",
        f"{CHART}/values.yaml",
        "exceptCidrs: [169.254.169.254/32]",
        "exceptCidrs: []",
        checks.chart_objects,
        "metadata",
    ),
    Fault(
        "front doors call out",
        f"{CHART}/templates/networkpolicy.yaml",
        'merge (dict "rebootml/role" "worker") (include "rebootml.selector" . | fromYaml)',
        'include "rebootml.selector" . | fromYaml',
        checks.chart_objects,
        "calls no vendor",
    ),
    Fault(
        "root's number",
        f"{CHART}/templates/_helpers.tpl",
        "runAsUser: 10001",
        "runAsUser: 0",
        checks.chart_objects,
        "that of the image",
    ),
    Fault(
        "no Redis given",
        f"{CHART}/templates/workers.yaml",
        ' "REDIS_URL_FILE" "/run/rebootml/REDIS_URL" }}',
        " }}",
        checks.chart_objects,
        "REDIS_URL_FILE is not given",
    ),
    Fault(
        "metrics to itself",
        f"{CHART}/templates/workers.yaml",
        '"METRICS_HOST" "0.0.0.0" ',
        "",
        checks.chart_objects,
        "METRICS_HOST lets",
    ),
    Fault(
        "another metrics port",
        f"{CHART}/templates/workers.yaml",
        '"METRICS_PORT" "9090"',
        '"METRICS_PORT" "9091"',
        checks.chart_objects,
        "METRICS_PORT is not its port",
    ),
    Fault(
        "a bare secret",
        f"{CHART}/templates/workers.yaml",
        "          env:\n",
        "          env:\n            - {name: AWS_SECRET_ACCESS_KEY, value: x}\n",
        checks.chart_objects,
        "a secret in a variable",
    ),
    Fault(
        "secret in a ConfigMap",
        f"{CHART}/templates/monitoring.yaml",
        "data:\n",
        "data:\n  OPENAI_API_KEY: x\n",
        checks.chart_objects,
        "belongs into a Secret",
    ),
    Fault(
        "large number",
        f"{CHART}/templates/_helpers.tpl",
        'ternary $value (toJson $value) (kindIs "string" $value)',
        "$value | toString",
        checks.chart_objects,
        "QUEUE_BYTES_MAX",
    ),
    Fault(
        "one queue of two",
        f"{CHART}/templates/workers.yaml",
        "{{ if $i }} + {{ end }}wanted{{ $i }}",
        "{{ if not $i }}wanted{{ $i }}{{ end }}",
        checks.chart_objects,
        "add up",
    ),
    Fault(
        "ready too soon",
        f"{CHART}/templates/_helpers.tpl",
        "path: /readyz",
        "path: /healthz",
        checks.chart_objects,
        "instead of /readyz",
    ),
    Fault(
        "undrainable",
        f"{CHART}/templates/web.yaml",
        "maxUnavailable: 1\n",
        "maxUnavailable: 0\n",
        checks.chart_objects,
        "could not be drained",
    ),
    Fault(
        "gap in a rollout",
        f"{CHART}/templates/web.yaml",
        "maxUnavailable: 0, maxSurge: 1",
        "maxUnavailable: 1, maxSurge: 0",
        checks.chart_objects,
        "takes pods away",
    ),
    Fault("no such module", "deploy/Dockerfile", '"-m", "api"', '"-m", "apis"', checks.image, "no package of ours"),
    Fault(
        "no such variable",
        "deploy/Dockerfile",
        "METRICS_PORT=9090",
        "METRIC_PORT=9090",
        checks.image,
        "METRIC_PORT is no setting",
    ),
    Fault("not copied", "deploy/Dockerfile", "COPY shared shared\n", "", checks.image, "shared is not copied"),
    Fault("nobody listens", "deploy/compose.yaml", "8080:8080", "8080:8000", checks.compose, "nothing listens"),
    Fault(
        "privileged",
        "deploy/compose.yaml",
        "  init: true\n",
        "  init: true\n  privileged: true\n",
        checks.compose,
        "privileged",
    ),
    Fault(
        "no address",
        "deploy/compose.yaml",
        "  REDIS_URL_FILE: /run/secrets/redis_url\n",
        "",
        checks.compose,
        "REDIS_URL_FILE is not given",
    ),
    Fault("forgetful", "deploy/compose.yaml", '--appendonly, "yes"', '--appendonly, "no"', checks.compose, "forgets"),
    Fault(
        "books not kept",
        "deploy/compose.yaml",
        "postgres:/var/lib/postgresql",
        "postgres:/var/lib/postgresql/data",
        checks.compose,
        "not kept",
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
