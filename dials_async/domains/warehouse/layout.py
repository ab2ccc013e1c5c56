"""Where everything is in the warehouse: regions, cells, item slots, shelves, shortest paths. No dynamics.

A robot's cell is numbered 0..24 row-major inside its own 5x5 region; an item's slot is numbered 0..11 in
the order of the observation: top row left to right, bottom row left to right, then for rows 1..3 the left
and the right cell. Items of the whole grid are numbered once, since neighbouring regions share an edge.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REGION_SIDE = 5
N_CELLS = 25
CENTRE = 12
N_SLOTS = 12
N_NEIGHBOURS = 4  # in the order right, below, left, above
N_CLASSES = 4  # which of the 3 cells of the shared edge the neighbour stands on, or 3 = none
N_ACTIONS = 4  # up, down, left, right
NOWHERE = 3
SPAWN_PROBABILITY = 0.02
EPISODE_STEPS = 100

_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def _slot_cells() -> list[int]:
    top = [1, 2, 3]
    bottom = [20 + col for col in (1, 2, 3)]
    sides = [5 * row + col for row in (1, 2, 3) for col in (0, 4)]
    return top + bottom + sides


def _moves() -> NDArray[np.uint8]:
    table = np.zeros((N_CELLS, N_ACTIONS), dtype=np.uint8)
    for cell in range(N_CELLS):
        row, col = divmod(cell, 5)
        for action, (d_row, d_col) in enumerate(_STEPS):
            to_row, to_col = row + d_row, col + d_col
            inside = 0 <= to_row < 5 and 0 <= to_col < 5
            corner = to_row in (0, 4) and to_col in (0, 4)
            along_an_edge = (col in (0, 4) and d_row != 0) or (row in (0, 4) and d_col != 0)
            table[cell, action] = cell if not inside or corner or along_an_edge else 5 * to_row + to_col
    return table


def _distances() -> NDArray[np.uint8]:
    far = 255
    table = np.full((N_CELLS, N_CELLS), far, dtype=np.uint8)
    for start in range(N_CELLS):
        table[start, start] = 0
        frontier = deque([start])
        while frontier:
            cell = frontier.popleft()
            for reached in MOVES[cell]:
                if table[start, reached] == far:
                    table[start, reached] = table[start, cell] + 1
                    frontier.append(int(reached))
    return table


#: Cell that a robot is on after an action: [cell, action].
MOVES = _moves()
#: Steps of a shortest path under the rules of movement: [from cell, to cell]; 255 where there is none.
DISTANCES = _distances()
#: Cell of each item slot: [slot].
SLOT_CELL = np.array(_slot_cells(), dtype=np.int8)
#: Item slot of each cell, -1 where there is none: [cell].
SLOT_OF_CELL = np.full(N_CELLS, -1, dtype=np.int8)
SLOT_OF_CELL[SLOT_CELL] = np.arange(N_SLOTS, dtype=np.int8)
#: Slot of my region that a neighbour of class c stands on: [neighbour, class 0..2].
SLOT_OF_INFLUENCE = np.array([[7, 9, 11], [3, 4, 5], [6, 8, 10], [0, 1, 2]], dtype=np.int8)
#: Class that a neighbour's cell (in the neighbour's own region) is of: [neighbour, cell of the neighbour].
INFLUENCE_OF_CELL = np.full((N_NEIGHBOURS, N_CELLS), NOWHERE, dtype=np.uint8)
for _k in range(3):
    INFLUENCE_OF_CELL[0, 5 * (_k + 1)] = _k  # the right one stands on its left edge
    INFLUENCE_OF_CELL[1, _k + 1] = _k  # the one below on its top edge
    INFLUENCE_OF_CELL[2, 5 * (_k + 1) + 4] = _k  # the left one on its right edge
    INFLUENCE_OF_CELL[3, 20 + _k + 1] = _k  # the one above on its bottom edge


@dataclass(frozen=True, eq=False)
class Layout:
    """Tables of a warehouse with ``n_side`` x ``n_side`` learning robots inside a ring of scripted ones."""

    n_side: int
    robots_side: int
    """R = n_side + 2 robots a side, the ring included."""
    learners: NDArray[np.int32]
    """Robot ids of the learning agents, [agents]."""
    neighbours: NDArray[np.int32]
    """Robot ids right of, below, left of and above each agent, [agents, 4]."""
    item_of_slot: NDArray[np.int32]
    """Item number of each slot of each robot's region, [robots, 12]."""
    item_cells: NDArray[np.int32]
    """Row and column in the grid of each item, [items, 2]."""

    @property
    def n_robots(self) -> int:
        """Robots, the ring included."""
        return self.robots_side**2

    @property
    def n_items(self) -> int:
        """Shelf cells of the whole grid."""
        return len(self.item_cells)

    def grid_cell(self, robot: int, cell: int) -> tuple[int, int]:
        """Row and column in the grid of ``cell`` of the region of ``robot``."""
        row, col = divmod(robot, self.robots_side)
        return 4 * row + cell // 5, 4 * col + cell % 5


def make_layout(n_side: int) -> Layout:
    """Tables of the warehouse of ``n_side`` x ``n_side`` agents (R = n + 2, grid 4R + 1)."""
    side = n_side + 2
    number: dict[tuple[int, int], int] = {}
    item_of_slot = np.zeros((side * side, N_SLOTS), dtype=np.int32)
    for robot in range(side * side):
        row, col = divmod(robot, side)
        for slot, cell in enumerate(SLOT_CELL):
            at = (4 * row + int(cell) // 5, 4 * col + int(cell) % 5)
            item_of_slot[robot, slot] = number.setdefault(at, len(number))
    learners = [r * side + c for r in range(1, side - 1) for c in range(1, side - 1)]
    return Layout(
        n_side=n_side,
        robots_side=side,
        learners=np.array(learners, dtype=np.int32),
        neighbours=np.array([[r + 1, r + side, r - 1, r - side] for r in learners], dtype=np.int32),
        item_of_slot=item_of_slot,
        item_cells=np.array(list(number), dtype=np.int32),
    )
