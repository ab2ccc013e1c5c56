"""Draws an episode of the warehouse: robots, shelves and items, as a scene for the report's player."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

#: Text on the page tells one mean, over the learning robots.
_TITLE = "Warehouse with {n} learning robots"

# Colours are pairs: on a light page, on a dark page.
_FLOOR = ["#eceae3", "#23262d"]
_LEARNING_FLOOR = ["#dfeaf2", "#25323e"]
_RING_FLOOR = ["#e3e1d9", "#2a2d34"]
_SHELF = ["#e8dcc4", "#3a342b"]
_SLOT = ["#d9c7a4", "#51483a"]
_PILLAR = ["#b9a989", "#5d5343"]
_OUTLINE = ["#0067a8", "#62b5ee"]
_PAID = ["#007a55", "#3ddba6"]
#: Two robots on one shelf cell stand this far from its centre, in cells.
_LEAN = 0.18
_EDGE = ["#5b3a1066", "#00000066"]
#: Young items are pale and old ones glow dark on a light page; on a dark page old ones are the brightest.
_AGES = [["#ffe98a", "#96691c"], ["#f39b1f", "#dd8a1d"], ["#c2410c", "#ffbe55"], ["#6b1130", "#fff3c4"]]


class WarehouseRecorder:
    """Collects the states of one episode and hands them out as a scene (``dials_async.report.scene``).

    The grid has (4R+1) x (4R+1) cells with R = n_side + 2 robots a side; one world unit is one cell, and the
    centre of cell (row, col) lies at x = col + 1, y = row + 1.

    Args:
        n_side: Learning robots a side; a ring of scripted ones stands around them.
        max_age_shown: Items of this age (steps) or more have the last colour of the ramp.
    """

    def __init__(self, n_side: int, max_age_shown: int = 30) -> None:
        if n_side < 1 or max_age_shown < 1:
            raise ValueError("n_side and max_age_shown must be 1 or more")
        self._n_side = n_side
        self._side = n_side + 2
        self._max_age = max_age_shown
        self._frames: list[dict[str, Any]] = []
        self._return = 0.0

    def add(
        self,
        robots: Sequence[tuple[int, int]],
        items: Sequence[tuple[int, int, int]],
        rewards: Sequence[float] | None,
    ) -> None:
        """Add one frame: the state after a step.

        Args:
            robots: (row, col) in global cells of all R x R robots, row-major ids.
            items: (row, col, age in steps) of every item on a shelf.
            rewards: What each of the n_side x n_side learning robots was paid in this step, row-major;
                None for the state after a reset.
        """
        if len(robots) != self._side**2:
            raise ValueError(f"{self._side**2} robots expected, got {len(robots)}")
        if rewards is not None and len(rewards) != self._n_side**2:
            raise ValueError(f"{self._n_side**2} rewards expected, got {len(rewards)}")
        paid = {} if rewards is None else dict(zip(self._learning(), map(float, rewards), strict=True))
        movers, flashes = [], []
        learning = set(self._learning())
        shared = {cell for cell, n in Counter(map(tuple, robots)).items() if n > 1}
        # Learning robots last, so that they are drawn over the others.
        for i in sorted(range(len(robots)), key=lambda i: (i in learning, i)):
            row, col = map(int, robots[i])
            x, y = self._lean(i, row, col) if (row, col) in shared else (col + 1, row + 1)
            reward = paid.get(i, 0.0)
            movers.append([i, x, y, "paid" if reward > 0 else "learner" if i in learning else "ring"])
            if reward > 0:
                flashes.append([x, y, "flash", round(min(1.0, reward), 2)])
        marks = [
            [int(col) + 1, int(row) + 1, "item", round(min(1.0, int(age) / self._max_age), 2)]
            for row, col, age in items
        ]
        self._return += sum(paid.values()) / self._n_side**2
        step = len(self._frames)
        text = f"Step {step}\nReturn so far {self._return:.2f}, mean of the learning robots"
        self._frames.append({"movers": movers, "marks": marks + flashes, "text": text})

    def scene(self) -> dict[str, Any]:
        """The drawing of all frames so far."""
        flash = {
            "shape": "ring",
            "size": 1.0,
            "stroke": _PAID,
            "line": 0.14,
            "pulse": True,
            "above": True,
            # In large warehouses several robots are paid in every step: numbers would cover the picture.
            "show_value": self._n_side <= 5,
        }
        return {
            "title": _TITLE.format(n=self._n_side**2),
            "width": 4 * self._side + 2,
            "height": 4 * self._side + 2,
            "background": self._background(),
            "styles": {
                "learner": {"shape": "disc", "size": 0.7, "fill": _OUTLINE, "core": ["#ffffff", "#14161a"]},
                "paid": {"shape": "disc", "size": 0.78, "fill": _PAID, "core": ["#ffffff", "#14161a"]},
                "ring": {"shape": "disc", "size": 0.64, "fill": ["#8b8e96", "#868a93"]},
                "item": {"shape": "square", "size": 0.9, "ramp": _AGES, "stroke": _EDGE, "line": 0.04},
                "flash": flash,
            },
            "frames": list(self._frames),
            "legend": [
                {"style": "learner", "label": "learning robot"},
                {"style": "ring", "label": "scripted robot of the outer ring"},
                {"style": "flash", "label": "paid in this step: age ÷ oldest age in its region"},
                {"style": "item", "label": "item, age", "range": ["0", f"{self._max_age}+ steps"]},
            ],
        }

    def _lean(self, robot: int, row: int, col: int) -> tuple[float, float]:
        """Where to draw a robot that shares its cell: leaning to its own region, both are seen."""
        home_row, home_col = (4 * index + 2 for index in divmod(robot, self._side))
        # Only shelf cells are shared, and a robot on one leans off the shelf, not along it.
        if row % 4 == 0:
            return col + 1, row + 1 + (_LEAN if home_row > row else -_LEAN)
        return col + 1 + (_LEAN if home_col > col else -_LEAN), row + 1

    def _learning(self) -> list[int]:
        """Ids of the learning robots among all, row-major."""
        inner = range(1, self._n_side + 1)
        return [i * self._side + j for i in inner for j in inner]

    def _background(self) -> list[dict[str, Any]]:
        """Floor, regions, shelves with a slot for each item cell, pillars where shelves cross."""
        side, cells = self._side, 4 * self._side + 1
        regions = [(i, j) for i in range(side) for j in range(side)]
        inner = range(1, self._n_side + 1)
        learning = [(i, j) for i, j in regions if i in inner and j in inner]
        ring = [region for region in regions if region not in learning]
        # The shelf between two regions: 3 cells, horizontal ones on rows 4k, vertical ones on columns 4k.
        lying = [[4 * j + 1.5, 4 * k + 0.54, 3, 0.92] for k in range(side + 1) for j in range(side)]
        standing = [[4 * k + 0.54, 4 * i + 1.5, 0.92, 3] for k in range(side + 1) for i in range(side)]
        slots = [
            [col + 0.6, row + 0.6, 0.8, 0.8]
            for row in range(cells)
            for col in range(cells)
            if (row % 4 == 0) != (col % 4 == 0)
        ]
        pillars = [[4 * k + 0.66, 4 * m + 0.66, 0.68, 0.68] for k in range(side + 1) for m in range(side + 1)]
        block = [4 + 0.35, 4 + 0.35, 4 * self._n_side + 1.3, 4 * self._n_side + 1.3]
        return [
            {"kind": "rect", "at": [[0, 0, cells + 1, cells + 1]], "fill": _FLOOR, "radius": 0.5},
            {"kind": "rect", "at": [_interior(r) for r in ring], "fill": _RING_FLOOR, "radius": 0.25},
            {"kind": "rect", "at": [_interior(r) for r in learning], "fill": _LEARNING_FLOOR, "radius": 0.25},
            {"kind": "rect", "at": lying + standing, "fill": _SHELF, "radius": 0.2},
            {"kind": "rect", "at": slots, "fill": _SLOT, "radius": 0.16},
            {"kind": "rect", "at": pillars, "fill": _PILLAR, "radius": 0.18},
            {"kind": "rect", "at": [block], "stroke": _OUTLINE, "line": 0.09, "radius": 0.3},
        ]


def _interior(region: tuple[int, int]) -> list[float]:
    """The 3 x 3 floor cells of a region: what is not shared with a neighbour."""
    return [4 * region[1] + 1.5, 4 * region[0] + 1.5, 3, 3]
