from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.options import Options


def test_nothing_set_means_everything_embedded_with_a_demo_account() -> None:
    options = Options.load({})
    assert (options.host, options.port, options.data_dir.name) == ("127.0.0.1", 8080, ".data")
    assert (options.database_url, options.redis_url, options.demo) == (None, None, True)
    assert options.processes == {"web": 1, "worker": 1}
    assert options.environment["DRAIN_S"] == "10"
    assert options.stop_s == 20


def test_a_database_of_ones_own_gets_a_demo_account_only_when_asked() -> None:
    own = {"DATABASE_URL": "postgresql://somewhere/db"}
    assert not Options.load(own).demo
    assert Options.load({**own, "DEMO": "1"}).demo


def test_a_longer_drain_is_waited_for() -> None:
    options = Options.load({"DRAIN_S": "60"})
    assert options.environment["DRAIN_S"] == "60"
    assert options.stop_s == 70


def test_a_relative_data_dir_is_made_absolute() -> None:
    assert Options.load({"DATA_DIR": "elsewhere"}).data_dir == Path.cwd() / "elsewhere"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("DRAIN_S", "soon"),
        ("DRAIN_S", "nan"),
        ("PROCESSES", "web=1"),
        ("PROCFILE", "/none"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable) as refused:
        Options.load({variable: value})
    assert "\n" not in str(refused.value)
