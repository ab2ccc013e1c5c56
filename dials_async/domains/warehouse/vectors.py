"""Replays recordings of the original warehouse through our transition function (``dials check-vectors``).

A recording is a list of steps with the state, the actions of all robots, the spawned cells, and what the
original simulator made of them. Every number is compared; the state is handed over from step to step, so that
an error would show in all later ones too.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.warehouse.layout import N_NEIGHBOURS, Layout, make_layout
from dials_async.domains.warehouse.observation import DSET_BITS, write_observation
from dials_async.domains.warehouse.rules import transition
from dials_async.errors import UsageError
from dials_async.kernels.bits import packed_size, unpack
from dials_async.kernels.compile import jit

#: Rewards are ratios of small integers in both simulators; only the last bits of a float may differ.
REWARD_TOLERANCE = 1e-9


class Checked(NamedTuple):
    """Outcome of one file."""

    file: str
    checks: int
    mismatches: int
    first: str
    """Where the first mismatch is, or empty."""


class _Tally:
    def __init__(self) -> None:
        self.checks, self.mismatches, self.first = 0, 0, ""

    def compare(self, what: str, ours: Any, theirs: Any, tolerance: float = 0.0) -> None:
        a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
        if a.shape != b.shape:
            self._note(
                what, max(a.size, b.size, 1), max(a.size, b.size, 1), f"shape {a.shape}, not {b.shape}"
            )
            return
        wrong = ~(np.abs(a - b) <= tolerance)
        detail = ""
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            detail = f"at {at} {a[at]:g}, not {b[at]:g}"
        self._note(what, a.size, int(wrong.sum()), detail)

    def _note(self, what: str, checks: int, mismatches: int, detail: str) -> None:
        self.checks += checks
        self.mismatches += mismatches
        if mismatches and not self.first:
            self.first = f"{what}: {detail}"


def check_file(path: Path) -> Checked:
    """Replay one recording. Raises UsageError if it cannot be read."""
    try:
        recording = json.loads(path.read_text(encoding="utf-8"))
        n_side, steps = int(recording["n_side"]), recording["steps"]
        layout = make_layout(n_side)
        tally = _Tally()
        tally.compare("learning ids", layout.learners, recording["learning"])
        _replay(layout, steps, recording, tally)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{path} is no warehouse recording: {type(error).__name__}: {error}") from error
    return Checked(str(path), tally.checks, tally.mismatches, tally.first)


def _replay(layout: Layout, steps: list[dict[str, Any]], recording: dict[str, Any], tally: _Tally) -> None:
    number = {(int(row), int(col)): k for k, (row, col) in enumerate(layout.item_cells)}
    n_agents = len(layout.learners)
    cells, ages = _state(layout, steps[0], number)
    for t, step in enumerate(steps):
        where = f"step {t}"
        tally.compare(f"{where} robots", _grid_cells(layout, cells), step["robots"])
        _compare_items(f"{where} items", layout, ages, step["items"], tally)
        tally.compare(f"{where} observation", _observations(layout, cells, ages), step["obs"])
        rewards = np.zeros(n_agents)
        influence = np.zeros((n_agents, N_NEIGHBOURS), dtype=np.uint8)
        actions = np.array([step["actions"]], dtype=np.uint8)
        spawned = np.zeros((1, layout.n_items), dtype=np.uint8)
        arrays = (layout.item_of_slot, layout.learners, layout.neighbours)
        # Without new items first: the recording keeps the items between removal and spawning, too.
        removed_cells, removed_ages = cells.copy(), ages.copy()
        transition(removed_cells, removed_ages, actions, spawned, 0, *arrays, rewards, influence)
        _compare_items(
            f"{where} items after removal", layout, removed_ages, step["items_after_removal"], tally
        )
        for cell in step["spawned"]:
            spawned[0, number[int(cell[0]), int(cell[1])]] = 1
        transition(cells, ages, actions, spawned, 0, *arrays, rewards, influence)
        tally.compare(f"{where} reward", rewards, step["reward"], REWARD_TOLERANCE)
        one_hot = np.eye(4)[influence].reshape(n_agents, -1)
        tally.compare(f"{where} influence", one_hot, np.reshape(step["influence"], (n_agents, -1)))
    if "final_robots" in recording:
        tally.compare("final robots", _grid_cells(layout, cells), recording["final_robots"])
    if "final_items" in recording:
        _compare_items("final items", layout, ages, recording["final_items"], tally)


def _state(
    layout: Layout, step: dict[str, Any], number: dict[tuple[int, int], int]
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    cells = np.zeros((1, layout.n_robots), dtype=np.uint8)
    for robot, (row, col) in enumerate(step["robots"]):
        top, left = layout.grid_cell(robot, 0)
        cells[0, robot] = 5 * (row - top) + (col - left)
    ages = np.full((1, layout.n_items), -1, dtype=np.int16)
    for row, col, age in step["items"]:
        ages[0, number[row, col]] = age
    return cells, ages


def _grid_cells(layout: Layout, cells: NDArray[np.uint8]) -> list[tuple[int, int]]:
    return [layout.grid_cell(robot, int(cell)) for robot, cell in enumerate(cells[0])]


def _compare_items(
    what: str, layout: Layout, ages: NDArray[np.int16], theirs: list[list[int]], tally: _Tally
) -> None:
    there = np.flatnonzero(ages[0] >= 0)
    ours = sorted((*map(int, layout.item_cells[k]), int(ages[0, k])) for k in there)
    tally.compare(what, ours, sorted(map(tuple, theirs)))


def _observations(layout: Layout, cells: NDArray[np.uint8], ages: NDArray[np.int16]) -> NDArray[np.uint8]:
    packed = np.zeros((len(layout.learners), packed_size(DSET_BITS)), dtype=np.uint8)
    _observe(packed, cells, ages, layout.item_of_slot, layout.learners)
    return unpack(packed, DSET_BITS)


@jit
def _observe(
    packed: NDArray[np.uint8],
    cells: NDArray[np.uint8],
    ages: NDArray[np.int16],
    item_of_slot: NDArray[np.int32],
    learners: NDArray[np.int32],
) -> None:
    no_memory = np.zeros((1, 0), dtype=np.int16)
    for agent in range(learners.shape[0]):
        robot = learners[agent]
        write_observation(packed[agent], cells[0, robot], ages, 0, item_of_slot, robot, no_memory, 0)
