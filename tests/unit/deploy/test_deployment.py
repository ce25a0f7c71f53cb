"""What is deployed fits what runs: alerts and the dashboard ask for what is exported, papers name commands that exist."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk import environment_variables
from prometheus_client import Counter, Gauge, Histogram

from deploy import dashboard
from deploy.cli.cli import _parser
from shared.lanes import short_name
from shared.queue.demand import QUEUES
from shared.runtime import metrics
from shared.secret_files import SUFFIX
from shared.settings import Settings
from tests.deployment.checks import image_lock
from tests.harness.running import PROJECT
from workers.upstreams.states import ALERTING

ALERTS = dashboard.FILE.parents[1] / "alerts.yaml"
OF_PROCESSES = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"}
"""prometheus_client's own; and `instance` and `job` are Prometheus's."""
SELECTOR = re.compile(r"\b((?:rebootml|process)_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
CLOSED = {
    "stage": metrics.STAGE_SECONDS._documentation,
    "state": "due leased deferred all free",
    "kind": "charged cost lost",
    "code": "overloaded",
}
"""The values of labels that expressions match exactly."""
FOLDERS = ("api", "workers", "shared", "deploy", "tests")


def _exported() -> dict[str, set[str]]:
    """Every name that a scrape shows, with its labels."""
    found: dict[str, set[str]] = {}
    for collector in vars(metrics).values():
        if not isinstance(collector, Counter | Gauge | Histogram):
            continue
        labels = set(collector._labelnames)
        if isinstance(collector, Histogram):
            found |= {f"{collector._name}_{part}": labels for part in ("sum", "count")}
            found[f"{collector._name}_bucket"] = labels | {"le"}
        else:
            found[collector._name + ("_total" if isinstance(collector, Counter) else "")] = labels
    return found | {name: set() for name in OF_PROCESSES}


def _alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def _expressions() -> Iterator[tuple[str, str, str]]:
    for rule in _alerts():
        yield rule["alert"], rule["expr"], rule["annotations"]["summary"]
    for panel in dashboard.dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


@pytest.mark.parametrize(("where", "expression", "told"), [*_expressions()])
def test_every_metric_label_and_value_that_is_asked_for_is_exported(where: str, expression: str, told: str) -> None:
    exported, labels = _exported(), {"instance", "job"}
    asked = SELECTOR.findall(expression)
    assert asked, where
    for name, matchers in asked:
        assert name in exported, where
        labels |= exported[name]
        for label, how, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers):
            assert label in exported[name], where
            if how == "=":
                assert value in re.split(r"\W+", CLOSED[label]), where
            elif label in {"queue", "deployment"}:
                assert any(re.fullmatch(value, short_name(queue)) for queue in QUEUES), where
    named = {label.strip() for group in GROUPING.findall(expression) for label in group.split(",")}
    named |= set(re.findall(r"\{\{ ?\$labels\.(\w+)", told)) | set(re.findall(r"\{\{(\w+)\}\}", told))
    assert named <= labels, where


def test_no_label_can_be_grown_by_a_caller() -> None:
    grown = {"account", "account_id", "key", "key_id", "request", "request_id", "path", "user", "batch_id", "address"}
    assert not grown & set().union(*_exported().values())


def test_the_image_installs_a_part_of_the_projects_lock() -> None:
    assert image_lock(PROJECT) == []


def test_the_dashboard_is_what_its_generator_writes() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run `python -m deploy.dashboard`"
    panels = json.loads(dashboard.FILE.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_has_its_section_in_the_runbook() -> None:
    for rule in _alerts():
        paper, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        sections = re.findall(r"^## (\w+)$", (PROJECT / paper).read_text(), re.MULTILINE)
        assert anchor == rule["alert"].lower(), rule["alert"]
        assert rule["alert"] in sections, rule["alert"]


def test_the_runbook_says_what_to_do_about_every_fact_that_alerts() -> None:
    known = set(ALERTING.values())
    for package in ("api", "shared", "workers"):
        for file in (PROJECT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and any(map(_is_alert, call.keywords)):
                    known |= {str(word.value) for word in call.args if isinstance(word, ast.Constant)}
    section = (PROJECT / "docs/operations/RUNBOOK.md").read_text().partition("## RebootmlFact")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]
    assert {fact for row in rows for fact in row.split(", ")} == {part for fact in known for part in fact.split(", ")}


def _is_alert(keyword: ast.keyword) -> bool:
    """Whether a log line alerts, always or at times."""
    return keyword.arg == "alert" and ast.unparse(keyword.value) != "False"


@pytest.mark.parametrize("paper", sorted((PROJECT / "docs/operations").glob("*.md")), ids=lambda paper: paper.name)
def test_the_commands_and_settings_that_operators_are_told_exist(paper: Path) -> None:
    text = paper.read_text()
    groups = _commands(_parser())
    for group, command in re.findall(r"`rebootml ([a-z]+)(?: ([a-z]+))?", text):
        assert group in groups, group
        assert not command or command in _commands(groups[group]), f"{group} {command}"
    known = {field.upper() for field in Settings.__struct_fields__} | vars(environment_variables).keys()
    told = set(re.findall(r"`([A-Z]+(?:_[A-Z0-9]+)+)`", text))
    assert {name.removesuffix(SUFFIX) for name in told} <= known


def test_the_files_that_papers_name_exist() -> None:
    files = [f"/{path.relative_to(PROJECT)}" for folder in FOLDERS for path in (PROJECT / folder).rglob("*.*")]
    papers = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    told = {
        (paper.name, name)
        for paper in papers
        if paper.name != "CHANGELOG.md"
        for name in re.findall(r"`([a-z][\w./-]*\.(?:py|lua|sql))`", paper.read_text())
    }
    assert len(told) > 50
    assert {one for one in told if not any(file.endswith(f"/{one[1]}") for file in files)} == set()


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}
