"""Between the compiled warehouse's arrays and the oracle's cells and dicts."""

from random import Random

import numpy as np

from dials_async.domains.warehouse.layout import Layout
from dials_async.domains.warehouse.simulator import WarehouseGlobal
from tests.oracles import warehouse as wh

FREE_CELLS = [cell for cell in wh.REGION_CELLS if cell not in wh.CORNERS]


def number_of(cell: wh.Cell) -> int:
    """A local cell as the compiled warehouse numbers it."""
    return 5 * cell[0] + cell[1]


def cell_of(number: int) -> wh.Cell:
    row, col = divmod(int(number), 5)
    return row, col


def shelf_of(layout: Layout) -> list[wh.Cell]:
    """The grid cell of every item number."""
    return [(int(row), int(col)) for row, col in layout.item_cells]


def ages_of(layout: Layout, items: dict[wh.Cell, int]) -> np.ndarray:
    """[items], -1 where there is none."""
    return np.array([items.get(cell, -1) for cell in shelf_of(layout)], dtype=np.int16)


def flags_of(layout: Layout, cells: list[wh.Cell]) -> np.ndarray:
    """[items], 1 for each of ``cells``."""
    chosen = set(cells)
    return np.array([cell in chosen for cell in shelf_of(layout)], dtype=np.uint8)


def robots_of(n: int, robots: tuple[wh.Cell, ...]) -> np.ndarray:
    """[robots], each in its own region."""
    return np.array([number_of(wh.to_local(n, k, cell)) for k, cell in enumerate(robots)], dtype=np.uint8)


def oracle_state(layout: Layout, cells: np.ndarray, ages: np.ndarray) -> wh.GsState:
    """From the arrays of one env: cells [robots], ages [items]."""
    n = layout.n_side
    robots = tuple(wh.to_global(n, robot, cell_of(cell)) for robot, cell in enumerate(cells))
    items = {cell: int(age) for cell, age in zip(shelf_of(layout), ages, strict=True) if age >= 0}
    return wh.GsState(n, robots, items)


def state_of(simulator: WarehouseGlobal, env: int) -> wh.GsState:
    return oracle_state(simulator.layout, simulator.state.cells[env], simulator.state.ages[env])


def random_state(n: int, rng: Random, density: float, oldest: int) -> wh.GsState:
    """Robots anywhere and items anywhere: more than a simulator would ever reach."""
    robots = tuple(wh.to_global(n, robot, rng.choice(FREE_CELLS)) for robot in range(wh.side_of(n) ** 2))
    items = {cell: rng.randint(0, oldest) for cell in wh.shelf_cells(n) if rng.random() < density}
    return wh.GsState(n, robots, items)


def random_spawns(state: wh.GsState, actions: list[int], rng: Random, chance: float) -> list[wh.Cell]:
    """Cells for new items, among those that are free after the robots took theirs."""
    emptied, *_ = wh.gs_transition(state, actions, [])
    return [cell for cell in wh.shelf_cells(state.n) if cell not in emptied.items and rng.random() < chance]
