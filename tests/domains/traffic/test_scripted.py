"""Scripted traffic lights: what each does, and that they rank as they should."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dials_async.domains.registry import make_domain
from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.network import SPACING_M
from dials_async.domains.traffic.rules import EW_GREEN, JUNCTION_M, KEEP, LANE_M, NS_GREEN, SWITCH
from dials_async.domains.traffic.scripted import FIXED_GREEN_S, POLICIES, PRESSURE_GREEN_S, SOTL_GREEN_S
from dials_async.domains.traffic.snapshot import Car
from dials_async.errors import ConfigError
from dials_async.rollout.joint import run_scripted

SEEDS = np.array([7], dtype=np.uint64)


def decisions(name: str, n_steps: int = 120, side: int = 2) -> tuple[np.ndarray, list[list[int]]]:
    """Actions [steps, agents] and the phases after each step."""
    domain = Traffic(side)
    with domain.make_global(1) as simulator:
        policy = domain.scripted_policy(name, 1)
        simulator.reset(SEEDS)
        policy.reset(SEEDS)
        actions, phases = [], []
        for _ in range(n_steps):
            actions.append(policy.act(simulator)[:, 0])
            simulator.step(actions[-1][:, None])
            phases.append(simulator.snapshot().phases)
    return np.array(actions), phases


def greens(phases: list[list[int]], agent: int) -> list[int]:
    """Lengths of the completed greens of a light, seconds."""
    lengths, length = [], 0
    for shown in phases:
        if shown[agent] % 2 == 0:
            length += 1
        elif length:
            lengths.append(length)
            length = 0
    return lengths


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_gives_the_same_decisions(name: str) -> None:
    first, again = decisions(name, 60), decisions(name, 60)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]


def test_random_switches_half_of_the_time() -> None:
    actions, _ = decisions("random")
    # 480 fair coins: outside of 0.4 to 0.6 with a chance of 1e-5; the seed is fixed anyway.
    assert 0.4 < actions.mean() < 0.6


def test_fixed_time_gives_both_directions_the_same_green() -> None:
    _, phases = decisions("fixed-time")
    for agent in range(4):
        assert set(greens(phases, agent)[1:]) == {FIXED_GREEN_S}


def test_actuated_leaves_the_lights_to_sumo() -> None:
    actions, phases = decisions("actuated", 200)
    assert (actions == KEEP).all()
    lengths = [length for agent in range(4) for length in greens(phases, agent)[1:]]
    assert min(lengths) >= 8
    assert max(lengths) <= 45
    assert len(set(lengths)) > 1  # it follows the cars


def test_sotl_keeps_green_for_five_seconds_at_least() -> None:
    actions, phases = decisions("sotl")
    assert (actions == SWITCH).any()
    assert min(length for agent in range(4) for length in greens(phases, agent)) >= SOTL_GREEN_S


def test_max_pressure_turns_to_the_fuller_roads() -> None:
    _, phases = decisions("max-pressure", 200)
    assert any(phase[0] != NS_GREEN for phase in phases)
    assert min(length for agent in range(4) for length in greens(phases, agent)) >= 8


#: Compass directions in which cars drive, as (x, y): those before a light come from the other end.
HEADINGS = {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}
GREEN_FOR = {NS_GREEN: (0, 180), EW_GREEN: (90, 270)}


def cars_near(cars: list[Car], x_m: float, y_m: float, heading: int) -> tuple[int, int]:
    """Cars of one heading on the road before the light at (x, y), and behind it, from the drawing."""
    before = behind = 0
    dx, dy = HEADINGS[heading]
    for car in cars:
        beside_m = abs((car.x_m - x_m) * dy) + abs((car.y_m - y_m) * dx)
        along_m = (car.x_m - x_m) * dx + (car.y_m - y_m) * dy
        if round(car.angle_deg) % 360 == heading and beside_m < JUNCTION_M / 2:
            before += -LANE_M - JUNCTION_M / 2 <= along_m <= -JUNCTION_M / 2
            behind += JUNCTION_M / 2 <= along_m <= LANE_M + JUNCTION_M / 2
    return before, behind


@pytest.mark.parametrize("side", [1, 2, 3])
def test_max_pressure_counts_cars_before_the_light_less_those_behind_it(side: int) -> None:
    domain, seconds = Traffic(side), [0] * side**2
    decided = otherwise = 0
    with domain.make_global(1) as simulator:
        policy = domain.scripted_policy("max-pressure", 1)
        simulator.reset(SEEDS)
        policy.reset(SEEDS)
        for _ in range(domain.episode_steps):
            cars, phases = simulator.snapshot()
            actions = policy.act(simulator)
            for agent, phase in enumerate(phases):
                row, column = divmod(agent, side)
                x_m, y_m = (LANE_M + JUNCTION_M / 2 + k * SPACING_M for k in (column, side - 1 - row))
                if phase not in GREEN_FOR or seconds[agent] < PRESSURE_GREEN_S:
                    assert actions[agent, 0] == KEEP
                    continue
                counts = {h: cars_near(cars, x_m, y_m, h) for h in HEADINGS}
                pressure = {g: sum(counts[h][0] - counts[h][1] for h in hs) for g, hs in GREEN_FOR.items()}
                waiting = {g: sum(counts[h][0] for h in hs) for g, hs in GREEN_FOR.items()}
                other = EW_GREEN if phase == NS_GREEN else NS_GREEN
                assert (actions[agent, 0] == SWITCH) == (pressure[other] > pressure[phase])
                decided += 1
                otherwise += (pressure[other] > pressure[phase]) != (waiting[other] > waiting[phase])
            simulator.step(actions)
            shown = simulator.snapshot().phases
            seconds = [s + 1 if a == b else 1 for s, a, b in zip(seconds, phases, shown, strict=True)]
    # Then: there was something to decide, and the cars behind the light mattered.
    assert decided > 20
    assert otherwise > 0


def test_they_rank_as_measured() -> None:
    # Eight fixed episodes each, on 2 x 2; over 30 episodes: 142, 172, 178, 198, and 200 for fixed-time.
    domain = make_domain({"name": "traffic", "side": 2})
    with ThreadPoolExecutor(2) as pool:
        returns = {name: run_scripted(domain, name, 8, 1, pool).mean() for name in POLICIES}
    assert returns["random"] < returns["actuated"] < returns["max-pressure"] < returns["sotl"]
    assert returns["fixed-time"] > returns["max-pressure"]
    assert 130 < returns["random"] < 155


def test_an_unknown_policy() -> None:
    with pytest.raises(
        ConfigError, match="no scripted policy 'clever' in the traffic grid; there are random, actuated"
    ):
        Traffic(2).scripted_policy("clever", 1)
