"""Tables of the warehouse against the oracle, which computes everything from the text of the rules."""

import numpy as np
import pytest

from dials_async.domains.warehouse.layout import (
    CENTRE,
    DISTANCES,
    INFLUENCE_OF_CELL,
    MOVES,
    N_CLASSES,
    N_NEIGHBOURS,
    NOWHERE,
    SLOT_CELL,
    SLOT_OF_CELL,
    SLOT_OF_INFLUENCE,
    make_layout,
)
from tests.oracles import warehouse as wh

from .translation import FREE_CELLS, cell_of, number_of, shelf_of

sizes = pytest.mark.parametrize("n", [1, 2, 3, 5])


@pytest.mark.parametrize("action", wh.ACTIONS)
def test_every_move_from_every_cell_is_the_oracles(action: int) -> None:
    for cell in wh.REGION_CELLS:
        assert cell_of(MOVES[number_of(cell), action]) == wh.move(cell, action), cell


def test_every_distance_is_the_oracles_and_corners_are_out_of_reach() -> None:
    for start in FREE_CELLS:
        expected = wh.distances_from(start)
        for goal in wh.REGION_CELLS:
            assert DISTANCES[number_of(start), number_of(goal)] == expected.get(goal, 255), (start, goal)


def test_slots_follow_the_order_of_the_item_bits() -> None:
    assert [cell_of(cell) for cell in SLOT_CELL] == wh.ITEM_CELLS
    slots = [wh.ITEM_CELLS.index(cell) if cell in wh.ITEM_CELLS else -1 for cell in wh.REGION_CELLS]
    assert SLOT_OF_CELL.tolist() == slots


def test_the_centre_is_the_oracles() -> None:
    assert cell_of(CENTRE) == wh.CENTRE


def test_a_class_of_influence_names_the_slot_that_the_neighbour_stands_on() -> None:
    for source, (_, shared) in enumerate(wh.SOURCES):
        assert [wh.ITEM_CELLS[slot] for slot in SLOT_OF_INFLUENCE[source]] == shared
    assert NOWHERE == wh.NONE
    assert len(wh.SOURCES) == N_NEIGHBOURS
    assert len(wh.SOURCES[0][1]) + 1 == N_CLASSES


@sizes
def test_the_learning_robots_are_the_oracles(n: int) -> None:
    layout = make_layout(n)
    assert layout.learners.tolist() == wh.learning_ids(n)
    assert layout.robots_side == wh.side_of(n)
    assert layout.n_robots == wh.side_of(n) ** 2


@sizes
def test_every_class_of_influence_of_every_neighbour_is_the_oracles(n: int) -> None:
    layout = make_layout(n)
    centres = [wh.to_global(n, robot, wh.CENTRE) for robot in range(layout.n_robots)]
    for agent, robot in enumerate(wh.learning_ids(n)):
        for source in range(N_NEIGHBOURS):
            neighbour = int(layout.neighbours[agent, source])
            for cell in FREE_CELLS:
                robots = list(centres)
                robots[neighbour] = wh.to_global(n, neighbour, cell)
                expected = wh.influence_of(n, robot, robots)
                assert INFLUENCE_OF_CELL[source, number_of(cell)] == expected[source]
                assert expected[:source] + expected[source + 1 :] == [wh.NONE] * 3  # it is nobody else


@sizes
def test_every_shelf_cell_has_one_number_wherever_it_is_seen_from(n: int) -> None:
    layout = make_layout(n)
    shelf = shelf_of(layout)
    assert sorted(shelf) == wh.shelf_cells(n)
    assert layout.n_items == len(shelf)
    for robot in range(layout.n_robots):
        cells = [shelf[item] for item in layout.item_of_slot[robot]]
        assert cells == [wh.to_global(n, robot, local) for local in wh.ITEM_CELLS]


@sizes
def test_cells_of_the_grid_are_those_of_the_region(n: int) -> None:
    layout = make_layout(n)
    for robot in range(layout.n_robots):
        for cell in wh.REGION_CELLS:
            assert layout.grid_cell(robot, number_of(cell)) == wh.to_global(n, robot, cell)


def test_tables_have_the_types_that_kernels_were_compiled_for() -> None:
    """Another type would compile every kernel again, for minutes, or overflow."""
    layout = make_layout(30)
    assert layout.item_of_slot.dtype == layout.learners.dtype == layout.neighbours.dtype == np.int32
    assert layout.item_of_slot.max() == layout.n_items - 1
