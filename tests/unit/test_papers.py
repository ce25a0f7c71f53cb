"""What the papers name exists: files, and in the page that follows one request, classes and functions. The changelog also
names what was there once.
"""

from __future__ import annotations

import re
from fnmatch import filter as filter_names
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "workers", "shared", "deploy", "tests", "docs")
SUFFIXES = {".py", ".lua", ".sql", ".md", ".toml", ".yaml"}
PAPERS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {ROOT / "CHANGELOG.md"})
FILES = ["/" + str(path.relative_to(ROOT)) for name in FOLDERS for path in (ROOT / name).rglob("*.*")]
CODE_SPAN = re.compile(r"`([^`\n]+)`")
A_NAME = re.compile(r"(?:[A-Z]\w+\.)?_?[a-zA-Z][a-z]\w+\Z")
ELSEWHERE = {"run_job", "reserve", "settle", "settle_and_keep", "settle_served", "rebootml"}
"""arq's function, SQL functions, a command."""


@cache
def defined() -> set[str]:
    """Names of classes and functions."""
    code = "\n".join(path.read_text() for name in FOLDERS[:4] for path in (ROOT / name).rglob("*.py"))
    return set(re.findall(r"(?:class|def) (\w+)", code))


def code_spans(paper: Path) -> list[str]:
    return CODE_SPAN.findall(paper.read_text(encoding="utf-8"))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_every_file_that_a_paper_names_exists(paper: Path) -> None:
    named = [
        span
        for span in code_spans(paper)
        if "/" in span and Path(span).suffix in SUFFIXES and not set(" …") & set(span)
    ]
    assert not [span for span in named if not filter_names(FILES, "*/" + span)]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_every_method_that_a_paper_names_exists(paper: Path) -> None:
    named = {span for span in code_spans(paper) if re.fullmatch(r"[A-Z][a-z]\w+\.[a-z_]\w+", span)}
    assert {part for name in named for part in name.split(".")} <= defined()


def test_every_function_on_the_way_of_a_request_exists() -> None:
    named = {span for span in code_spans(ROOT / "docs/one-request.md") if A_NAME.match(span)} - ELSEWHERE
    assert len(named) > 40
    assert {part for name in named for part in name.split(".")} <= defined()
