from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.procfile import parse_processes, read_procfile

NAMES = frozenset({"web", "worker"})


def test_the_projects_procfile_names_release_web_and_worker() -> None:
    commands = read_procfile(Path(__file__).parents[4] / "Procfile")
    assert commands == {
        "release": ("rebootml", "migrate"),
        "web": ("python", "-m", "api"),
        "worker": ("python", "-m", "workers"),
    }


def test_comments_and_empty_lines_are_skipped_and_quotes_hold_words_together(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("# ours\n\nweb: python -m api --title 'two words'\n", encoding="utf-8")
    assert read_procfile(procfile) == {"web": ("python", "-m", "api", "--title", "two words")}


def test_a_mark_before_the_first_line_is_no_part_of_a_name(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("web: python -m api\n", encoding="utf-8-sig")
    assert read_procfile(procfile) == {"web": ("python", "-m", "api")}
    procfile.write_text("web: python -m api\n", encoding="utf-16")
    with pytest.raises(ValueError, match="is in UTF-16: save it as UTF-8"):
        read_procfile(procfile)


@pytest.mark.parametrize("line", ["web", "web:", ": python -m api"])
def test_a_line_that_is_no_process_is_named(tmp_path: Path, line: str) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text(line, encoding="utf-8")
    with pytest.raises(ValueError, match="is not `name: command`"):
        read_procfile(procfile)


def test_processes_are_counted() -> None:
    assert parse_processes(" web=2, worker=3 ", NAMES) == {"web": 2, "worker": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one web"),
        ("web=0,worker=1", "at least one web"),
        ("web=1", "at least one worker"),
        ("web=1,worker=-1", "'worker=-1' is wrong"),
        ("web=1,worker=many", "'worker=many' is wrong"),
        ("web=1,worker=1000", "'worker=1000' is wrong"),
        ("web=1,worker", "'worker' is wrong"),
        ("web=1,worker=1,clock=1", "'clock'"),
    ],
)
def test_a_wrong_processes_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="PROCESSES") as refused:
        parse_processes(text, NAMES)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
