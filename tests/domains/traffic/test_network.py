"""The road network that netconvert builds, as SUMO's own library reads it."""

import os
import time
import xml.etree.ElementTree as Xml
from pathlib import Path

import pytest

from dials_async.domains.traffic import netconvert
from dials_async.domains.traffic.installation import Installation, find_sumo
from dials_async.domains.traffic.network import Grid, network_files
from dials_async.domains.traffic.rules import JUNCTION_M, LANE_M, SPEED_LIMIT_MPS
from dials_async.errors import SimulatorError


@pytest.fixture(scope="module", params=[1, 2, 5])
def side(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def lanes(side: int) -> dict[str, Xml.Element]:
    root = Xml.parse(network_files(side, find_sumo()).network).getroot()
    return {lane.attrib["id"]: lane for lane in root.iter("lane")}


def test_all_roads_are_100_m_and_all_crossings_18_8_m(lanes: dict[str, Xml.Element], side: int) -> None:
    roads = {name: lane for name, lane in lanes.items() if not name.startswith(":")}
    crossings = {name: lane for name, lane in lanes.items() if name.startswith(":")}
    assert len(roads) == 4 * side * (side + 1)
    assert len(crossings) == 4 * side * side
    assert {float(lane.attrib["length"]) for lane in roads.values()} == {LANE_M}
    assert {float(lane.attrib["length"]) for lane in crossings.values()} == {JUNCTION_M}
    assert {float(lane.attrib["speed"]) for lane in lanes.values()} == {SPEED_LIMIT_MPS}


def test_the_drawn_length_of_a_road_is_its_length(lanes: dict[str, Xml.Element]) -> None:
    for name, lane in lanes.items():
        (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in lane.attrib["shape"].split())
        assert abs(x1 - x0) + abs(y1 - y0) == pytest.approx(float(lane.attrib["length"]), abs=0.011), name


def test_links_of_a_light_are_north_east_south_west(side: int) -> None:
    root = Xml.parse(network_files(side, find_sumo()).network).getroot()
    links = {
        (c.attrib["tl"], int(c.attrib["linkIndex"])): (c.attrib["from"], c.attrib["to"])
        for c in root.iter("connection")
        if "tl" in c.attrib
    }
    grid = Grid(side)
    for agent, light in enumerate(grid.lights):
        (north, south, east, west), exits = grid.approaches(agent), grid.exits(agent)
        assert links[light, 0] == (north, exits[0])
        assert links[light, 1] == (east, exits[2])
        assert links[light, 2] == (south, exits[1])
        assert links[light, 3] == (west, exits[3])
    assert len(links) == 4 * len(grid.lights)


def test_a_route_leads_straight_through_the_whole_grid(side: int) -> None:
    routes = Grid(side).routes()
    assert len(routes) == 4 * side
    assert all(len(edges) == side + 1 for edges in routes.values())
    assert routes["n0-s0"][0] == "n0.x0_0"
    assert routes[f"w{side - 1}-e{side - 1}"][-1] == f"x{side - 1}_{side - 1}.e{side - 1}"


def test_a_network_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIALS_CACHE_DIR", str(tmp_path))
    first = network_files(2, find_sumo())

    def forbidden(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(netconvert, "_build", forbidden)
    assert network_files(2, find_sumo()) == first
    assert [path.name for path in (tmp_path / "traffic").iterdir()] == [first.network.parent.name]


def test_what_a_killed_build_has_left_is_removed_by_a_later_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIALS_CACHE_DIR", str(tmp_path))
    # Given: a build that was killed two hours ago, and one that may still run.
    left, running = tmp_path / "traffic" / ".building-left", tmp_path / "traffic" / ".building-running"
    for folder in (left, running):
        folder.mkdir(parents=True)
        (folder / "nodes.nod.xml").touch()
    then = time.time() - 2 * netconvert.LEFTOVER_S
    os.utime(left, (then, then))
    built = network_files(1, find_sumo()).network.parent
    assert {path.name for path in (tmp_path / "traffic").iterdir()} == {built.name, running.name}


def test_a_netconvert_that_fails_is_one_clear_line_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIALS_CACHE_DIR", str(tmp_path))
    with pytest.raises(SimulatorError, match=r"netconvert did not build the road network: .*No such file"):
        network_files(2, Installation(tmp_path / "nowhere", "1.28.0"))
    assert list((tmp_path / "traffic").iterdir()) == []
