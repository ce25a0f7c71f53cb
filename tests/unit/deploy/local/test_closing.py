from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deploy.local.closing import close_to_others
from deploy.local.errors import StartError

ME, SOMEBODY = os.geteuid(), os.geteuid() + 4_711


def made(folder: Path, mode: int, *names: str) -> Path:
    data = folder / "data"
    data.mkdir()
    for name in names:
        (data / name).touch()
    data.chmod(mode)
    return data


def mode_of(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> int:
    """Whoever runs the tests passes for root."""
    monkeypatch.setattr("deploy.local.closing.ROOT", ME)
    return ME


@pytest.fixture
def as_another(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("deploy.local.closing.ROOT", SOMEBODY)
    return ME


def test_a_folder_that_is_not_there_or_closed_is_left_alone(tmp_path: Path, as_root: int) -> None:
    assert close_to_others(tmp_path / "data", as_root, with_stores=True) is None
    data = made(tmp_path, 0o700, "anything")
    assert close_to_others(data, as_root, with_stores=True) is None


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o750, 0o701, 0o777, 0o1777])
def test_an_empty_folder_is_closed_and_it_is_said(tmp_path: Path, as_root: int, mode: int) -> None:
    data = made(tmp_path, mode)
    said = close_to_others(data, as_root, with_stores=True)
    assert said is not None
    assert f"({mode:04o})" in said
    assert mode_of(data) == 0o700


def test_a_folder_of_an_earlier_run_is_closed(tmp_path: Path, as_root: int) -> None:
    data = made(tmp_path, 0o755, "run.lock", "demo.json", ".demo.json.new", "logs", "postgres", "valkey")
    assert close_to_others(data, as_root, with_stores=True)
    assert mode_of(data) == 0o700


def test_root_takes_no_open_folder_with_things_of_others_in_it(tmp_path: Path, as_root: int) -> None:
    data = made(tmp_path, 0o755, "thesis.tex")
    with pytest.raises(StartError, match=rf"others may enter {data} \(0755\).*chmod 700"):
        close_to_others(data, as_root, with_stores=True)
    assert mode_of(data) == 0o755


@pytest.mark.parametrize(("mode", "with_stores"), [(0o777, True), (0o1777, True), (0o775, True), (0o777, False)])
def test_root_takes_nothing_that_others_may_have_put_there(
    tmp_path: Path,
    as_root: int,
    mode: int,
    with_stores: bool,  # noqa: FBT001
) -> None:
    data = made(tmp_path, mode, "postgres")
    with pytest.raises(StartError, match=rf"others may write in {data} .* may be theirs"):
        close_to_others(data, as_root, with_stores=with_stores)


def test_root_takes_no_folder_of_somebody_else_for_stores(tmp_path: Path, as_another: int) -> None:
    data = made(tmp_path, 0o700)
    with pytest.raises(StartError, match=rf"belongs to uid {as_another}: as root"):
        close_to_others(data, SOMEBODY, with_stores=True)
    assert close_to_others(data, SOMEBODY, with_stores=False) is None


def test_others_close_what_is_theirs_and_leave_the_rest_as_it_is(tmp_path: Path, as_another: int) -> None:
    data = made(tmp_path, 0o775, "logs")
    assert close_to_others(data, as_another, with_stores=True)
    assert mode_of(data) == 0o700
    (data / "thesis.tex").touch()
    data.chmod(0o755)
    assert close_to_others(data, as_another, with_stores=True) is None
    assert mode_of(data) == 0o755
    data.chmod(0o777)
    with pytest.raises(StartError, match="others may write"):
        close_to_others(data, as_another, with_stores=True)
