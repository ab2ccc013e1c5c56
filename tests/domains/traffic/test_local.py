"""The compiled local simulator of one light: its rules, its limits, one result however it is called."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.domains.local import local_observe, local_reset, local_step
from dials_async.domains.traffic.entries import paper_entries
from dials_async.domains.traffic.line import ARRIVED_M, CAPACITY
from dials_async.domains.traffic.local import TrafficLocal, TrafficLocalState, make_local_state
from dials_async.domains.traffic.rules import (
    CAR_M,
    DSET_BITS,
    EPISODE_STEPS,
    EW_GREEN,
    EW_YELLOW,
    LIGHT_BITS,
    MAX_SPEED_MPS,
    N_APPROACHES,
    NORTH,
    NS_GREEN,
    NS_YELLOW,
    OBSERVATION_BITS,
    WEST,
)
from dials_async.kernels.bits import packed_size, unpack
from dials_async.kernels.compile import jit

NOBODY = np.zeros((1, 1, N_APPROACHES), dtype=np.uint8)


def fresh(n_envs: int = 1, empty_reward: float = 0.0) -> TrafficLocal:
    local = TrafficLocal(paper_entries(1), n_envs, empty_reward)
    local.reset(np.zeros((1, n_envs), dtype=np.uint64))
    return local


def phase(local: TrafficLocal) -> int:
    """What the observation says of the light."""
    bits = unpack(local.observe()[0, 0], OBSERVATION_BITS)
    (shown,) = (p for p, bit in LIGHT_BITS.items() if bits[bit])
    return shown


def phases_by_the_book(actions: list[int]) -> list[int]:
    """The phase in each step: a switch puts three steps of yellow and the other green on the plan."""
    shown: list[int] = []
    green = NS_GREEN
    for action in actions:
        if len(shown) > 0 and shown[-1] % 2 == 1:
            is_over = len(shown) >= 3 and shown[-3:] == [shown[-1]] * 3
            green = (shown[-1] + 1) % 4
            shown.append(green if is_over else shown[-1])
        else:
            shown.append(green + action)
    return shown


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60))
def test_the_light_follows_its_state_machine(actions: list[int]) -> None:
    local = fresh()
    shown = []
    for action in actions:
        local.step(np.array([[action]], dtype=np.uint8), NOBODY)
        shown.append(phase(local))
    assert shown == phases_by_the_book(actions)


def test_yellow_lasts_three_steps_and_ignores_actions() -> None:
    # Given: one that always switches.
    local = fresh()
    assert phase(local) == NS_GREEN
    shown = []
    for _ in range(9):
        local.step(np.ones((1, 1), dtype=np.uint8), NOBODY)
        shown.append(phase(local))
    # Then: the step in which green comes ignores the action too.
    assert shown == [NS_YELLOW] * 3 + [EW_GREEN] + [EW_YELLOW] * 3 + [NS_GREEN, NS_YELLOW]


@given(st.floats(6.0, 218.0), st.integers(NORTH, WEST))
def test_the_observation_is_the_cell_from_the_stop_line(position: float, approach: int) -> None:
    local = fresh()
    local.state.n_cars[0, approach] = 1
    local.state.positions[0, approach, 0] = position
    expected = np.zeros(DSET_BITS, dtype=np.uint8)
    if position <= 100.0 and (100.0 - position) // 10 < 9:
        expected[approach * 9 + int((100.0 - position) // 10)] = 1
    assert np.array_equal(unpack(local.observe()[0, 0], DSET_BITS), expected)


@pytest.mark.parametrize("empty_reward", [0.0, 1.0])
def test_without_cars_the_reward_is_the_parameter(empty_reward: float) -> None:
    local = fresh(empty_reward=empty_reward)
    assert local.step(np.zeros((1, 1), dtype=np.uint8), NOBODY)[0, 0] == empty_reward


def test_the_reward_is_the_mean_speed_on_the_approaches() -> None:
    # Given: a car at its entry; one that drives beyond the stop line does not count.
    local = fresh()
    local.state.n_cars[0, WEST] = 1
    local.state.positions[0, WEST, 0], local.state.speeds[0, WEST, 0] = 150.0, 5.0
    cars = np.array([[[1, 0, 0, 0]]], dtype=np.uint8)
    assert local.step(np.zeros((1, 1), dtype=np.uint8), cars)[0, 0] == pytest.approx(0.95)
    # Then: it is the only one, at the speed it entered with.
    assert local.state.positions[0, NORTH, 0] == 6.0


@pytest.mark.parametrize("arrivals", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("switching", [0.0, 0.1, 1.0])
def test_cars_keep_their_order_and_their_distance(arrivals: float, switching: float) -> None:
    n_envs = 20
    random = np.random.default_rng(1)
    local = fresh(n_envs)
    asked = np.zeros(n_envs, dtype=np.int64)
    for _ in range(EPISODE_STEPS):
        influence = (random.random((1, n_envs, N_APPROACHES)) < arrivals).astype(np.uint8)
        asked += influence[0].sum(axis=1, dtype=np.int64)
        before = local.state.n_cars.copy()
        rewards = local.step((random.random((1, n_envs)) < switching).astype(np.uint8), influence)
        state = local.state
        assert np.all((rewards >= 0.0) & (rewards <= 1.0))
        assert np.all(state.n_cars <= before + influence[0])
        assert state.n_cars.max() < CAPACITY
        is_car = np.arange(CAPACITY) < state.n_cars[:, :, None]
        assert np.all((state.speeds[is_car] >= 0.0) & (state.speeds[is_car] <= MAX_SPEED_MPS))
        assert np.all((state.positions[is_car] >= 6.0) & (state.positions[is_car] <= ARRIVED_M))
        distances = state.positions[:, :, :-1] - state.positions[:, :, 1:]
        # Bumper to bumper is CAR_M; the smallest gap of the car type comes on top.
        assert np.all(distances[is_car[:, :, 1:]] > CAR_M + 2.49)
    # Then: who is on the road has entered, and was not dropped.
    assert np.all(local.state.n_cars.sum(axis=1) <= asked - local.dropped[0])


def test_who_does_not_fit_is_dropped_and_counted() -> None:
    # Given: red for east and west for ever, and a car that wants to enter there in every step.
    local = fresh()
    influence = np.array([[[0, 0, 1, 1]]], dtype=np.uint8)
    for step in range(1, EPISODE_STEPS + 1):
        local.step(np.zeros((1, 1), dtype=np.uint8), influence)
        # Then: each one either is on the road or was counted.
        assert local.state.n_cars[0].sum() + local.dropped[0, 0] == 2 * step
    # Then: the approaches are full, down to where cars enter, and nobody crossed the line.
    assert local.state.n_cars[0].tolist() == [0, 0, 12, 12]
    assert local.state.positions[0, WEST, 0] <= 99.0
    # Then: a reset forgets it.
    local.reset(np.zeros((1, 1), dtype=np.uint64))
    assert local.dropped[0, 0] == 0
    assert local.state.n_cars.sum() == 0


def test_a_full_line_takes_nobody_more() -> None:
    # Given: a line as full as its arrays, which no traffic makes: cars closer than bumper to bumper.
    local = fresh()
    local.state.n_cars[0, NORTH] = CAPACITY
    local.state.positions[0, NORTH] = np.linspace(210.0, 120.0, CAPACITY)
    local.step(np.zeros((1, 1), dtype=np.uint8), np.array([[[1, 0, 0, 0]]], dtype=np.uint8))
    assert local.dropped[0, 0] == 1
    assert local.state.n_cars[0, NORTH] == CAPACITY


@jit
def fused(
    state: TrafficLocalState,
    actions: np.ndarray,  # [steps, rows]
    influence: np.ndarray,  # [steps, rows, 4]
    observations: np.ndarray,  # [steps, rows, bytes], out
    rewards: np.ndarray,  # [steps, rows], out
) -> None:
    """The calls of the fused rollout."""
    for row in range(actions.shape[1]):
        local_reset(state, row, 0)
        for t in range(actions.shape[0]):
            rewards[t, row] = local_step(state, row, actions[t, row], influence[t, row])
            local_observe(state, row, observations[t, row])


def test_the_fused_kernel_and_the_class_give_the_same() -> None:
    n_agents, n_envs = 3, 4
    random = np.random.default_rng(2)
    actions = (random.random((EPISODE_STEPS, n_agents, n_envs)) < 0.1).astype(np.uint8)
    influence = (random.random((EPISODE_STEPS, n_agents, n_envs, N_APPROACHES)) < 0.2).astype(np.uint8)
    n_rows = n_agents * n_envs
    observations = np.zeros((EPISODE_STEPS, n_rows, packed_size(OBSERVATION_BITS)), dtype=np.uint8)
    rewards = np.zeros((EPISODE_STEPS, n_rows), dtype=np.float32)
    fused(
        make_local_state(paper_entries(n_agents), n_envs, 0.0),
        actions.reshape(EPISODE_STEPS, n_rows),
        influence.reshape(EPISODE_STEPS, n_rows, N_APPROACHES),
        observations,
        rewards,
    )
    local = TrafficLocal(paper_entries(n_agents), n_envs)
    local.reset(np.zeros((n_agents, n_envs), dtype=np.uint64))
    for t in range(EPISODE_STEPS):
        assert np.array_equal(local.step(actions[t], influence[t]).reshape(-1), rewards[t])
        assert np.array_equal(local.observe().reshape(n_rows, -1), observations[t])


def test_episodes_are_the_same_however_they_are_split() -> None:
    random = np.random.default_rng(3)
    actions = (random.random((EPISODE_STEPS, 1, 6)) < 0.5).astype(np.uint8)
    influence = (random.random((EPISODE_STEPS, 1, 6, N_APPROACHES)) < 0.3).astype(np.uint8)
    whole, part = fresh(6), fresh(2)
    for t in range(EPISODE_STEPS):
        together = whole.step(actions[t], influence[t])
        alone = part.step(actions[t, :, 3:5], influence[t, :, 3:5])
        assert np.array_equal(together[:, 3:5], alone)
        assert np.array_equal(whole.observe()[:, 3:5], part.observe())
