"""Domains are found by name; a wrong name or option is one clear line; others can ship their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dials_async.domains.registry import machine_options, make_domain, result_options
from dials_async.domains.warehouse import Warehouse
from dials_async.errors import ConfigError


def test_a_domain_is_built_by_its_name_with_its_options() -> None:
    domain = make_domain({"name": "warehouse", "side": 3, "item_ages": True})
    assert isinstance(domain.own, Warehouse)
    assert domain.n_agents == 9
    assert domain.spec(8).observation_bits == 121
    assert make_domain({"name": "warehouse"}).n_agents == 4  # options have defaults


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "warehous"}, r"unknown domain 'warehous'; installed are .*warehouse"),
        (
            {"name": "warehouse", "sides": 3},
            r"unknown key 'domain\.sides': did you mean 'side'\? warehouse has side, item_ages",
        ),
        ({"name": "warehouse", "side": "3"}, r"domain\.side = '3': must be of type int"),
        ({"name": "warehouse", "side": True}, r"domain\.side = True: must be of type int"),
        ({"name": "warehouse", "side": 2.0}, r"domain\.side = 2\.0: must be of type int"),
        ({"name": "warehouse", "item_ages": 1}, r"domain\.item_ages = 1: must be of type bool"),
        ({"name": "warehouse", "side": 0}, r"domain\.side = 0: .*1 to 30"),
        ({"name": "warehouse", "side": 31}, r"domain\.side = 31: .*1 to 30"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line_that_names_the_key(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_domain(table)
    assert "\n" not in str(caught.value)


def test_an_option_that_is_like_none_is_told_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^unknown key 'domain\.xyz': warehouse has side, item_ages$"):
        make_domain({"name": "warehouse", "xyz": 3})


def test_a_whole_number_is_a_number() -> None:
    table = {"name": "traffic", "empty_reward": 1}
    assert result_options(table) == {"name": "traffic", "empty_reward": 1.0}
    assert isinstance(result_options(table)["empty_reward"], float)
    local = make_domain(table).make_local([0], 1)
    local.reset(np.zeros((1, 1), dtype=np.uint64))
    rewards = local.step(np.zeros((1, 1), dtype=np.uint8), np.zeros((1, 1, 4), dtype=np.uint8))
    assert rewards[0, 0] == 1.0
    with pytest.raises(ConfigError, match=r"empty_reward = True: must be of type float"):
        make_domain({"name": "traffic", "empty_reward": True})


def test_options_that_say_where_a_simulator_runs_are_none_of_the_result() -> None:
    table = {
        "name": "traffic",
        "side": 3,
        "interface": "traci",
        "address": "host:1",
        "sumo_version": "1.27.0",
    }
    assert result_options(table) == {"name": "traffic", "side": 3, "sumo_version": "1.27.0"}
    assert set(machine_options(table)) == {"interface", "gui", "address"}
    assert machine_options({"name": "warehouse"}) == ()


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package with a domain of its own were installed."""
    (tmp_path / "other_domain.py").write_text(
        "from dials_async.domains.warehouse import Warehouse\n\n\n"
        "class Other(Warehouse):\n"
        "    def __init__(self, lanes: int = 1) -> None:\n"
        "        super().__init__(lanes)\n"
        "        self.lanes = lanes\n"
    )
    info = tmp_path / "other_domain-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-domain\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dials_async.domains]\nother = other_domain:Other\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("other_package")
def test_a_domain_of_another_package_is_found_by_its_entry_point() -> None:
    domain = make_domain({"name": "other", "lanes": 2})
    own: Any = domain.own
    assert own.lanes == 2
    with pytest.raises(ConfigError, match="other has lanes"):
        make_domain({"name": "other", "side": 2})
    with pytest.raises(ConfigError, match="installed are other, traffic, warehouse"):
        make_domain({"name": "nothing"})


def test_an_agent_that_does_not_exist_has_no_spec() -> None:
    with pytest.raises(IndexError, match="agent 4 of 4"):
        Warehouse(side=2).spec(4)


def test_published_returns_belong_to_their_size() -> None:
    assert Warehouse(side=2).published["DIALS"] == 13.28
    assert Warehouse(side=3).published == {}
