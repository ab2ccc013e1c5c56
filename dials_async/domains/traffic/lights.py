"""The state machine of traffic lights: green until an action switches, then three seconds of yellow."""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.rules import NS_GREEN, SWITCH, YELLOW_S


class Lights:
    """The lights of ``n`` intersections, all north-south green at first."""

    def __init__(self, n: int) -> None:
        self.phases = [NS_GREEN] * n
        """Of each light, as in ``rules``."""
        self.seconds = [0] * n
        """For how many steps each light has shown its phase."""

    def step(self, actions: NDArray[np.uint8]) -> list[int]:
        """Advance by one step under ``actions`` [lights]; the lights whose phase changed.

        A switch shows yellow from this step on. Actions are ignored while it is yellow, and in the step in
        which the other green comes.
        """
        changed = []
        lights = zip(self.phases, self.seconds, actions.tolist(), strict=True)
        for k, (phase, seconds, action) in enumerate(lights):
            is_green = phase % 2 == 0
            if (action == SWITCH) if is_green else (seconds == YELLOW_S):
                self.phases[k] = (phase + 1) % 4
                self.seconds[k] = 0
                changed.append(k)
            self.seconds[k] += 1
        return changed
