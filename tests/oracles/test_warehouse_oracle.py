"""The slow warehouse oracle against the recording of the original simulator, and against its own rules."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import warehouse as wh

RECORDING = Path(__file__).parents[1] / "data" / "warehouse_2x2_seed1.json"

sizes = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)
# The real chance is 0.02; crowded shelves reach the rare cases (refilled cells, equal ages) sooner.
chances = st.sampled_from([0.02, 0.1, 0.4])
local_cells = st.sampled_from([cell for cell in wh.REGION_CELLS if cell not in wh.CORNERS])
local_items = st.dictionaries(st.sampled_from(wh.ITEM_CELLS), st.integers(0, 9), min_size=1)


def draw_spawned(rng: Random, items: dict[wh.Cell, int], n: int, chance: float) -> list[wh.Cell]:
    return [cell for cell in wh.shelf_cells(n) if cell not in items and rng.random() < chance]


def play(n: int, seed: int, chance: float, steps: int) -> Iterator[tuple[Any, ...]]:
    """Yield (state, actions, spawned, gs_transition's result) under random actions."""
    rng = Random(seed)
    state = wh.gs_reset(n, draw_spawned(rng, {}, n, chance))
    for _ in range(steps):
        actions = [rng.randrange(4) for _ in state.robots]
        emptied, *_ = wh.gs_transition(state, actions, [])
        spawned = draw_spawned(rng, emptied.items, n, chance)
        result = wh.gs_transition(state, actions, spawned)
        yield state, actions, spawned, result
        state = result[0]


def load_recording() -> dict[str, Any]:
    recording: dict[str, Any] = json.loads(RECORDING.read_text())
    return recording


def recorded_state(n: int, step: dict[str, Any]) -> wh.GsState:
    items = {(row, col): age for row, col, age in step["items"]}
    return wh.GsState(n, tuple((row, col) for row, col in step["robots"]), items)


# ---- The recording ----------------------------------------------------------------------------------------


def test_the_oracle_replays_the_recording_of_the_original_simulator() -> None:
    recording = load_recording()
    n, steps = recording["n_side"], recording["steps"]
    assert recording["learning"] == wh.learning_ids(n)
    state = recorded_state(n, steps[0])
    for t, step in enumerate(steps):
        # Given the recorded state, reached by the oracle's own transitions
        assert state == recorded_state(n, step), t
        # When the recorded actions and arrivals are played
        spawned = [(row, col) for row, col in step["spawned"]]
        emptied, *_ = wh.gs_transition(state, step["actions"], [])
        state, rewards, influence, obs = wh.gs_transition(state, step["actions"], spawned)
        # Then all that was recorded follows
        one_hot = [[int(c == k) for c in classes for k in range(4)] for classes in influence]
        after_removal = {(row, col): age for row, col, age in step["items_after_removal"]}
        assert obs == step["obs"], t
        assert [float(reward) for reward in rewards] == step["reward"], t  # both correctly rounded
        assert one_hot == step["influence"], t
        assert emptied.items == after_removal, t
    assert [list(cell) for cell in state.robots] == recording["final_robots"]


def test_the_recorded_ring_walks_to_the_closest_item_and_keeps_its_target() -> None:
    """Ties as the recording shows them: items in row-major order, first moves in the order 0, 2, 3, 1."""
    recording = load_recording()
    n = recording["n_side"]
    walks = 0
    for robot in set(range(wh.side_of(n) ** 2)) - set(recording["learning"]):
        target: wh.Cell | None = None
        for step in recording["steps"]:
            region = wh.ls_of(recorded_state(n, step), robot)
            target = min(wh.closest_targets(region.robot, region.items, target), default=None)
            if target is None or target == region.robot:
                continue
            allowed = wh.closest_actions(region.robot, target, random_action=step["actions"][robot])
            assert step["actions"][robot] == min(allowed, key=[0, 2, 3, 1].index)
            walks += 1
    assert walks == 299  # as counted once from the recording: the test is not vacuous


# ---- Layout and movement ----------------------------------------------------------------------------------


def test_the_learning_robots_are_the_inner_ones() -> None:
    assert wh.learning_ids(2) == [5, 6, 9, 10]


@given(sizes)
def test_each_side_of_a_region_is_one_shelf_of_three_cells_shared_by_both_neighbours(n: int) -> None:
    side = wh.side_of(n)
    assert len(wh.shelf_cells(n)) == 2 * 3 * side * (side + 1)


@given(sizes, seeds, chances)
@settings(max_examples=20, deadline=None)
def test_robots_stay_in_their_region_and_never_stand_on_a_corner(n: int, seed: int, chance: float) -> None:
    for *_, (state, _, _, _) in play(n, seed, chance, steps=30):
        for robot, cell in enumerate(state.robots):
            local = wh.to_local(n, robot, cell)
            assert local in wh.REGION_CELLS
            assert local not in wh.CORNERS


@given(local_cells, st.sampled_from(wh.ACTIONS))
def test_a_robot_on_an_edge_can_only_leave_it_inwards(cell: wh.Cell, action: int) -> None:
    after = wh.move(cell, action)
    if cell in wh.ITEM_CELLS:
        assert after == cell or after not in wh.ITEM_CELLS
    else:
        assert after != cell


@given(local_cells, local_cells)
def test_distances_are_those_of_the_inner_block_plus_one_for_each_edge(a: wh.Cell, b: wh.Cell) -> None:
    def inner(cell: wh.Cell) -> wh.Cell:
        return (min(max(cell[0], 1), 3), min(max(cell[1], 1), 3))

    blocks = abs(inner(a)[0] - inner(b)[0]) + abs(inner(a)[1] - inner(b)[1])
    expected = 0 if a == b else blocks + (a != inner(a)) + (b != inner(b))
    assert wh.distance_between(a, b) == expected


# ---- Items, rewards, influence ----------------------------------------------------------------------------


@given(sizes, seeds, chances)
@settings(max_examples=20, deadline=None)
def test_an_item_is_never_older_than_the_steps_played(n: int, seed: int, chance: float) -> None:
    for t, (_, _, spawned, (state, _, _, _)) in enumerate(play(n, seed, chance, steps=30), start=1):
        assert all(0 <= age <= t for age in state.items.values())
        assert {cell for cell, age in state.items.items() if age == 0} == set(spawned)


@given(sizes, seeds, chances)
@settings(max_examples=20, deadline=None)
def test_a_robot_is_paid_one_for_the_oldest_item_less_for_others_and_nothing_without(
    n: int, seed: int, chance: float
) -> None:
    for before, _, _, (after, rewards, _, _) in play(n, seed, chance, steps=30):
        for robot, reward in zip(wh.learning_ids(n), rewards, strict=True):
            items = wh.items_in_region(n, robot, before.items)
            local = wh.to_local(n, robot, after.robots[robot])
            if local not in items:
                assert reward == 0
            elif local in wh.oldest_items(items):
                assert reward == 1
            else:
                assert 0 < reward < 1


def test_two_robots_on_one_item_are_both_paid_and_see_each_other() -> None:
    # Given an item on the edge shared by robots 5 and 6 (n = 2), both one move away from it
    robots = list(wh.gs_reset(2, []).robots)
    robots[5], robots[6] = (5, 7), (5, 9)
    state = wh.GsState(2, tuple(robots), {(5, 8): 3})
    # When both step on it
    actions = [wh.UP] * 16
    actions[5], actions[6] = wh.RIGHT, wh.LEFT
    after, rewards, influence, _ = wh.gs_transition(state, actions, [(5, 8)])
    # Then both are paid, each is the other's class 0, and the cell may fill again under them
    assert rewards == [1, 1, 0, 0]
    assert influence[0] == [0, 3, 3, 3]
    assert influence[1] == [3, 3, 0, 3]
    assert after.items == {(5, 8): 0}


@pytest.mark.parametrize("cell", [(0, 0), (1, 1), (2, 0)])
def test_an_item_appears_on_free_shelf_cells_only(cell: wh.Cell) -> None:
    with pytest.raises(ValueError, match="item"):
        wh.spawn({(2, 0): 1}, [cell], wh.shelf_cells(2))


def assert_ls_repeats_gs(n: int, seed: int, chance: float, steps: int) -> int:
    """Feed each LS its own actions, arrivals and true u; count the items that neighbours took."""
    taken_by_neighbours = 0
    local: dict[int, wh.LsState] = {}
    for before, actions, spawned, (after, rewards, influence, obs) in play(n, seed, chance, steps):
        for k, robot in enumerate(wh.learning_ids(n)):
            ls = local.setdefault(robot, wh.ls_of(before, robot))
            arrivals = [c for c in (wh.to_local(n, robot, cell) for cell in spawned) if c in wh.ITEM_CELLS]
            assert wh.ls_observe(ls) == obs[k]
            local[robot], reward = wh.ls_transition(ls, actions[robot], influence[k], arrivals)
            assert local[robot] == wh.ls_of(after, robot)
            assert reward == rewards[k]
            for (_, shared), source_class in zip(wh.SOURCES, influence[k], strict=True):
                taken_by_neighbours += source_class != wh.NONE and shared[source_class] in ls.items
    return taken_by_neighbours


@given(sizes, seeds, chances)
@settings(max_examples=20, deadline=None)
def test_a_local_simulator_fed_the_true_influence_repeats_the_global_one(
    n: int, seed: int, chance: float
) -> None:
    assert_ls_repeats_gs(n, seed, chance, steps=30)


@pytest.mark.parametrize("n", [2, 3])
def test_a_whole_episode_of_local_simulators_is_exact_while_neighbours_take_items(n: int) -> None:
    assert assert_ls_repeats_gs(n, seed=1, chance=0.1, steps=100) > 20  # else u had nothing to explain


# ---- Scripted policies ------------------------------------------------------------------------------------


@given(local_cells, st.sampled_from(wh.ITEM_CELLS))
def test_every_best_action_brings_the_target_one_step_nearer(cell: wh.Cell, target: wh.Cell) -> None:
    actions = wh.best_actions(cell, target)
    assert actions
    for action in actions:
        after = wh.distance_between(wh.move(cell, action), target)
        assert after == max(wh.distance_between(cell, target) - 1, 0)


@given(local_cells, local_items)
def test_every_policy_has_a_target_when_there_is_an_item(cell: wh.Cell, items: dict[wh.Cell, int]) -> None:
    oldest, nearest = wh.oldest_items(items), wh.nearest_items(cell, items)
    assert oldest
    assert nearest
    best = wh.best_by_age_and_distance(cell, items)
    assert best
    if oldest & nearest and max(items.values()) > 0:  # nothing can beat an item that is both
        assert best == oldest & nearest


def test_closest_keeps_its_target_until_it_is_gone() -> None:
    items = {(0, 2): 1, (4, 2): 5}
    assert wh.closest_targets((1, 2), items, kept=(4, 2)) == {(4, 2)}
    assert wh.closest_targets((1, 2), items, kept=(2, 4)) == {(0, 2)}
    assert wh.closest_targets((1, 2), {}, kept=(4, 2)) == set()
