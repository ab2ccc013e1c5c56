"""Where and how fast a car enters the local simulator: u says only that one does.

Rule ``paper``: at 6 m with 9.5 m/s, 3 m/s where more than 8 cars are on the approach (the authors' code).
Rule ``road``, the default: from outside of the grid as SUMO lets them in there, which is exact; from another
light in the middle of what cars do there, measured under several policies.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.network import Grid
from dials_async.domains.traffic.rules import (
    INSERT_POSITION_M,
    INSERT_SPEED_CROWDED_MPS,
    INSERT_SPEED_MPS,
    N_APPROACHES,
)

#: Per approach: position in m, speed in m/s, speed in m/s where more than CROWDED_CARS cars are.
Entries = NDArray[np.float64]  # [agents, approaches, 3]
POSITION, SPEED, CROWDED_SPEED = range(3)

RULES = ("road", "paper")

PAPER = (INSERT_POSITION_M, INSERT_SPEED_MPS, INSERT_SPEED_CROWDED_MPS)

#: SUMO inserts a car of a flow with its rear 0.1 m beyond the start of the lane, at departSpeed.
OUTER = (5.1, 10.0, 10.0)

#: Of cars that come from another light: of 25 pairs of place and speed the one under which the LS repeats
#: most of GS episodes (``replay``, 3 x 3 lights: random, sotl, fixed-time): 1.8 % of the bits of these roads
#: are wrong, by the paper's rule 2.4 %, and an eighth as many cars do not fit.
INNER = (5.5, 8.8, 8.8)


def entries_of(grid: Grid, agents: Sequence[int], rule: str) -> Entries:
    """How cars enter the approaches of ``agents``, [agents, approaches, 3]."""
    result = np.empty((len(agents), N_APPROACHES, 3))
    for row, agent in enumerate(agents):
        for approach in range(N_APPROACHES):
            outer = grid.is_outer(agent, approach)
            result[row, approach] = PAPER if rule == "paper" else OUTER if outer else INNER
    return result


def paper_entries(n_rows: int) -> Entries:
    """The paper's rule for ``n_rows`` intersections."""
    return np.tile(np.array(PAPER), (n_rows, N_APPROACHES, 1))
