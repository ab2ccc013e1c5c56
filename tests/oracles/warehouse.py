"""The warehouse in plain Python: a slow oracle, written from `DOMAINS.md` alone, for the compiled domain.

Nothing here is meant to be fast. Rules appear in the order of the text, one per function, over dicts and
sets, and nothing is shared with `dials_async`. All chance comes from the caller (actions, spawned cells), so
that a transition is a function of its arguments.

Words: a cell is (row, col) of the whole grid; a local cell is (row, col), 0..4, inside one region; a robot's
id is i * side + j, with side = n + 2 robots a side, ring included.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

Cell = tuple[int, int]

UP, DOWN, LEFT, RIGHT = 0, 1, 2, 3
ACTIONS = (UP, DOWN, LEFT, RIGHT)
CENTRE: Cell = (2, 2)
CORNERS = {(0, 0), (0, 4), (4, 0), (4, 4)}
REGION_CELLS = [(row, col) for row in range(5) for col in range(5)]

# The 12 local item cells in the order of the observation's item bits; the index is the slot.
TOP, BOTTOM = [(0, 1), (0, 2), (0, 3)], [(4, 1), (4, 2), (4, 3)]
ITEM_CELLS: list[Cell] = [*TOP, *BOTTOM, (1, 0), (1, 4), (2, 0), (2, 4), (3, 0), (3, 4)]

# Influence sources in the order of u: where the neighbour's region lies (region rows, region columns), and
# the local cells of the edge shared with it, in the order of the classes 0..2.
SOURCES: list[tuple[Cell, list[Cell]]] = [
    ((0, 1), [(1, 4), (2, 4), (3, 4)]),  # right
    ((1, 0), BOTTOM),
    ((0, -1), [(1, 0), (2, 0), (3, 0)]),  # left
    ((-1, 0), TOP),
]
NONE = 3  # the class of a neighbour that stands on no cell of the shared edge


# ---- Layout -----------------------------------------------------------------------------------------------


def side_of(n: int) -> int:
    """Robots a side of the whole grid: n learning ones and the ring."""
    return n + 2


def region_of(n: int, robot: int) -> Cell:
    """Top-left cell of the robot's region."""
    i, j = divmod(robot, side_of(n))
    return (4 * i, 4 * j)


def to_local(n: int, robot: int, cell: Cell) -> Cell:
    """Make `cell` relative to the robot's region."""
    top, left = region_of(n, robot)
    return (cell[0] - top, cell[1] - left)


def to_global(n: int, robot: int, local: Cell) -> Cell:
    """Turn a local cell of the robot's region into a cell of the whole grid."""
    top, left = region_of(n, robot)
    return (top + local[0], left + local[1])


def learning_ids(n: int) -> list[int]:
    """Ids of the learning robots, the inner n x n, in row-major order."""
    side = side_of(n)
    return [i * side + j for i in range(1, n + 1) for j in range(1, n + 1)]


def shelf_cells(n: int) -> list[Cell]:
    """All item cells of the whole grid, in row-major order, each shared edge once."""
    robots = range(side_of(n) ** 2)
    return sorted({to_global(n, robot, local) for robot in robots for local in ITEM_CELLS})


def items_in_region(n: int, robot: int, items: Mapping[Cell, int]) -> dict[Cell, int]:
    """Ages of the items in the robot's region, by local cell."""
    locals_ = {local: to_global(n, robot, local) for local in ITEM_CELLS}
    return {local: items[cell] for local, cell in locals_.items() if cell in items}


# ---- Rules shared by both simulators ----------------------------------------------------------------------


def move(cell: Cell, action: int, region: Cell = (0, 0)) -> Cell:
    """Where a robot of the region with top-left cell `region` stands after `action` (0..3)."""
    row, col = cell[0] - region[0], cell[1] - region[1]
    if action not in ACTIONS:
        raise ValueError(f"no such action: {action}")
    if col in (0, 4) and action in (UP, DOWN):
        return cell  # an edge can only be left inwards
    if row in (0, 4) and action in (LEFT, RIGHT):
        return cell
    d_row, d_col = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}[action]
    target = (row + d_row, col + d_col)
    if target not in REGION_CELLS or target in CORNERS:
        return cell
    return (target[0] + region[0], target[1] + region[1])


def reward_of(local: Cell, items: Mapping[Cell, int]) -> Fraction:
    """Exact reward of a robot at `local` among its region's `items` {local cell: age}, ages already grown."""
    if local not in items:
        return Fraction(0)
    return Fraction(items[local], max(items.values()))


def observation_of(local: Cell, items: Collection[Cell]) -> list[int]:
    """37 bits: 25 one-hot position, row-major, then 12 item bits in the order of `ITEM_CELLS`."""
    return [int(cell == local) for cell in REGION_CELLS] + [int(cell in items) for cell in ITEM_CELLS]


def spawn(items: Mapping[Cell, int], spawned: Iterable[Cell], shelves: Collection[Cell]) -> dict[Cell, int]:
    """Add an item of age 0 at each spawned cell; an occupied cell or one off the shelves is an error."""
    result = dict(items)
    for cell in spawned:
        if cell not in shelves:
            raise ValueError(f"{cell} is not an item cell")
        if cell in result:
            raise ValueError(f"{cell} already holds an item")
        result[cell] = 0
    return result


# ---- Global simulator -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GsState:
    """State between two steps: `robots[id]` is a cell, `items` maps a cell to its item's age in steps."""

    n: int
    robots: tuple[Cell, ...]
    items: dict[Cell, int]


def gs_reset(n: int, spawned: Iterable[Cell]) -> GsState:
    """Every robot at the centre of its region, and the first items."""
    robots = tuple(to_global(n, robot, CENTRE) for robot in range(side_of(n) ** 2))
    return GsState(n, robots, spawn({}, spawned, shelf_cells(n)))


def observe(state: GsState, robot: int) -> list[int]:
    """Observation = d-set of one robot, 37 bits."""
    local = to_local(state.n, robot, state.robots[robot])
    return observation_of(local, items_in_region(state.n, robot, state.items))


def influence_of(n: int, robot: int, robots: Sequence[Cell]) -> list[int]:
    """Influence u of a learning robot: 4 classes, in the order right, below, left, above."""
    classes = []
    for (d_i, d_j), shared in SOURCES:
        neighbour = robot + d_i * side_of(n) + d_j
        local = to_local(n, robot, robots[neighbour])
        classes.append(shared.index(local) if local in shared else NONE)
    return classes


def gs_transition(
    state: GsState, actions: Sequence[int], spawned: Iterable[Cell]
) -> tuple[GsState, list[Fraction], list[list[int]], list[list[int]]]:
    """One step: the actions of all robots and the cells that step 7 fills -> what follows.

    Returns the new state and, per learning agent in row-major order, the reward, u (4 classes) and the
    observation = d-set before the step.
    """
    n, learners = state.n, learning_ids(state.n)
    if len(actions) != len(state.robots):
        raise ValueError(f"{len(actions)} actions for {len(state.robots)} robots")
    obs_before = [observe(state, robot) for robot in learners]  # step 1
    items = {cell: age + 1 for cell, age in state.items.items()}  # 2
    robots = tuple(  # 3
        move(cell, action, region_of(n, robot))
        for robot, (cell, action) in enumerate(zip(state.robots, actions, strict=True))
    )
    rewards = [  # 4
        reward_of(to_local(n, robot, robots[robot]), items_in_region(n, robot, items)) for robot in learners
    ]
    influence = [influence_of(n, robot, robots) for robot in learners]  # 5
    items = {cell: age for cell, age in items.items() if cell not in robots}  # 6
    items = spawn(items, spawned, shelf_cells(n))  # 7
    return GsState(n, robots, items), rewards, influence, obs_before


# ---- Local simulator --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LsState:
    """One region between two steps: own local cell, and the ages of its items by local cell."""

    robot: Cell
    items: dict[Cell, int]


def ls_reset(spawned: Iterable[Cell]) -> LsState:
    """The robot at the centre, and the first items."""
    return LsState(CENTRE, spawn({}, spawned, ITEM_CELLS))


def ls_of(state: GsState, robot: int) -> LsState:
    """Cut one robot's region out of a global state."""
    local = to_local(state.n, robot, state.robots[robot])
    return LsState(local, items_in_region(state.n, robot, state.items))


def ls_observe(state: LsState) -> list[int]:
    """Observation = d-set, 37 bits."""
    return observation_of(state.robot, state.items)


def ls_transition(
    state: LsState, action: int, influence: Sequence[int], spawned: Iterable[Cell]
) -> tuple[LsState, Fraction]:
    """One step of one region: own action, the 4 classes of u, and the local cells that step 7 fills."""
    items = {cell: age + 1 for cell, age in state.items.items()}  # step 2
    robot = move(state.robot, action)  # 3
    reward = reward_of(robot, items)  # 4
    taken = {robot}
    for (_, shared), source_class in zip(SOURCES, influence, strict=True):  # 5 is given
        if source_class != NONE:
            taken.add(shared[source_class])
    items = {cell: age for cell, age in items.items() if cell not in taken}  # 6
    return LsState(robot, spawn(items, spawned, ITEM_CELLS)), reward  # 7


# ---- Scripted policies, as the sets of choices that the text allows ---------------------------------------


def distances_from(local: Cell) -> dict[Cell, int]:
    """Steps from `local` to every cell a robot can reach, breadth first under `move`."""
    distance, frontier = {local: 0}, [local]
    while frontier:
        reached = []
        for cell in frontier:
            for action in ACTIONS:
                after = move(cell, action)
                if after not in distance:
                    distance[after] = distance[cell] + 1
                    reached.append(after)
        frontier = reached
    return distance


def distance_between(local: Cell, target: Cell) -> int:
    """Length of a shortest walk."""
    return distances_from(local)[target]


def best_actions(local: Cell, target: Cell) -> set[int]:
    """First moves of the shortest walks; at the target, the void moves (there are none off the edges)."""
    to_go = max(distance_between(local, target) - 1, 0)
    return {action for action in ACTIONS if distance_between(move(local, action), target) == to_go}


def nearest_items(local: Cell, items: Collection[Cell]) -> set[Cell]:
    """Items at the smallest distance."""
    distance = {cell: distance_between(local, cell) for cell in items}
    return {cell for cell in items if distance[cell] == min(distance.values())}


def oldest_items(items: Mapping[Cell, int]) -> set[Cell]:
    """Items of the largest age."""
    return {cell for cell in items if items[cell] == max(items.values())}


def best_by_age_and_distance(local: Cell, items: Mapping[Cell, int]) -> set[Cell]:
    """Items with the largest age / (distance + 1), compared exactly; ages as they are before the step."""
    score = {cell: Fraction(age, distance_between(local, cell) + 1) for cell, age in items.items()}
    return {cell for cell in items if score[cell] == max(score.values())}


def closest_targets(local: Cell, items: Collection[Cell], kept: Cell | None) -> set[Cell]:
    """What `closest` may walk to: the kept target while its item is there, otherwise any nearest item."""
    return {kept} if kept is not None and kept in items else nearest_items(local, items)


def closest_actions(local: Cell, target: Cell | None, random_action: int) -> set[int]:
    """Actions that `closest` may take; `random_action` is what it drew in case there is no walk to do.

    An item that appears under the robot leaves no walk either: the recorded ring then acts at random.
    """
    return {random_action} if target is None or target == local else best_actions(local, target)
