"""From the state of the traffic grid's GS to frames of a drawing (``render.py`` says what they look like)."""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import Scene
from dials_async.domains.traffic.render import TrafficRecorder
from dials_async.domains.traffic.simulator import TrafficGlobal


class TrafficDrawing:
    """Draws env 0 of a traffic grid (``dials_async.domains.base.SceneRecorder``).

    Args:
        side: Intersections a side.
    """

    def __init__(self, side: int) -> None:
        self._recorder = TrafficRecorder(side)

    def capture(self, simulator: TrafficGlobal, rewards: NDArray[np.float32] | None) -> None:
        """Add the present state as a frame; ``rewards`` [agents, envs] of the step."""
        seen = simulator.snapshot()
        paid = None if rewards is None else [float(reward) for reward in rewards[:, 0]]
        self._recorder.add(seen.cars, seen.phases, paid)

    def scene(self) -> Scene:
        """The drawing of all frames so far."""
        return self._recorder.scene()
