"""From the state of the warehouse's GS to frames of a drawing (``render.py`` says what they look like)."""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import Scene
from dials_async.domains.warehouse.layout import Layout
from dials_async.domains.warehouse.render import WarehouseRecorder
from dials_async.domains.warehouse.simulator import WarehouseGlobal


class WarehouseDrawing:
    """Draws env 0 of a warehouse (``dials_async.domains.base.SceneRecorder``)."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._recorder = WarehouseRecorder(layout.n_side)

    def capture(self, simulator: WarehouseGlobal, rewards: NDArray[np.float32] | None) -> None:
        """Add the present state as a frame; ``rewards`` [agents, envs] of the step."""
        cells, ages = simulator.state.cells[0], simulator.state.ages[0]
        robots = [self._layout.grid_cell(robot, int(cell)) for robot, cell in enumerate(cells)]
        items = [
            (int(self._layout.item_cells[k, 0]), int(self._layout.item_cells[k, 1]), int(ages[k]))
            for k in np.flatnonzero(ages >= 0)
        ]
        paid = None if rewards is None else [float(reward) for reward in rewards[:, 0]]
        self._recorder.add(robots, items, paid)

    def scene(self) -> Scene:
        """The drawing of all frames so far."""
        return self._recorder.scene()
