"""Where cars enter the LS, and that it repeats the GS the better for it."""

import numpy as np
import pytest

from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.entries import INNER, OUTER, PAPER, entries_of, paper_entries
from dials_async.domains.traffic.network import Grid
from dials_async.domains.traffic.replay import ReplayAgreement, as_text, replay
from dials_async.domains.traffic.rules import EAST, NORTH, SOUTH, WEST
from dials_async.domains.traffic.simulator import TrafficGlobal

SEEDS = np.arange(3, dtype=np.uint64)


def test_a_corner_has_two_roads_from_outside() -> None:
    entries = entries_of(Grid(3), [0, 4, 8], "road")
    north_west, centre, south_east = entries
    for approach, expected in ((NORTH, OUTER), (WEST, OUTER), (SOUTH, INNER), (EAST, INNER)):
        assert tuple(north_west[approach]) == expected
    assert (centre == INNER).all()
    for approach, expected in ((SOUTH, OUTER), (EAST, OUTER), (NORTH, INNER), (WEST, INNER)):
        assert tuple(south_east[approach]) == expected


def test_the_rule_of_the_paper_is_the_same_everywhere() -> None:
    assert (entries_of(Grid(3), range(9), "paper") == PAPER).all()
    assert np.array_equal(paper_entries(2), entries_of(Grid(1), [0, 0], "paper"))


def test_sumo_lets_cars_in_from_outside_where_the_rule_says() -> None:
    # Given: a grid of one light, whose roads all come from outside.
    with Traffic(1).make_global(1) as simulator:
        simulator.reset(SEEDS[:1])
        entered = 0
        known: set[str] = set()
        for _ in range(60):
            simulator.step(np.zeros((1, 1), dtype=np.uint8))
            entered += check_newcomers(simulator, known)
    assert entered > 5


def check_newcomers(simulator: TrafficGlobal, known: set[str]) -> int:
    # The west road begins at x = 0 and leads to the right, and so on around.
    new = [car for car in simulator.snapshot().cars if car.id not in known]
    known |= {car.id for car in new}
    for car in new:
        distance = {0: car.y_m, 90: car.x_m, 180: 218.8 - car.y_m, 270: 218.8 - car.x_m}[round(car.angle_deg)]
        assert distance == pytest.approx(OUTER[0], abs=1e-6)
        assert car.speed_mps == OUTER[1]
    return len(new)


@pytest.fixture(scope="module")
def replays() -> dict[tuple[str, str], ReplayAgreement]:
    return {
        (rule, policy): replay(Traffic(3, entry=rule), policy, SEEDS)
        for rule in ("road", "paper")
        for policy in ("random", "sotl")
    }


def test_the_light_is_repeated_exactly(replays: dict[tuple[str, str], ReplayAgreement]) -> None:
    assert {result.wrong_lights for result in replays.values()} == {0}


@pytest.mark.parametrize("policy", ["random", "sotl"])
def test_roads_from_outside_are_repeated_but_for_jams_behind_the_exits(
    replays: dict[tuple[str, str], ReplayAgreement], policy: str
) -> None:
    assert replays["road", policy].wrong_outer < 0.001
    assert replays["road", policy].wrong_outer < 0.1 * replays["paper", policy].wrong_outer


@pytest.mark.parametrize("policy", ["random", "sotl"])
def test_roads_between_lights_are_repeated_better_than_by_the_rule_of_the_paper(
    replays: dict[tuple[str, str], ReplayAgreement], policy: str
) -> None:
    assert replays["road", policy].wrong_inner < 0.8 * replays["paper", policy].wrong_inner < 0.04
    assert abs(replays["road", policy].return_difference) < 3.0


def test_the_grid_of_one_light_has_no_inner_roads() -> None:
    result = replay(Traffic(1), "sotl", SEEDS[:1])
    assert np.isnan(result.wrong_inner)
    # Then: the whole episode is repeated, for all roads come from outside and all exits are free.
    assert result.wrong_outer == 0.0
    assert result.return_difference == pytest.approx(0.0, abs=1e-4)
    assert "sotl" in as_text([result])
