"""One line of cars through an intersection, compiled: approach, way across the junction, exit.

Positions are those of the front bumpers in metres from the line's start: the approach ends at 100, the
junction at 118.8, the exit at 218.8. Cars are kept in driving order, the first one at index 0.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.car_following import (
    brake_gap,
    fits,
    follow_speed,
    free_speed,
    reachable_speed,
    stop_at_line_speed,
)
from dials_async.domains.traffic.rules import (
    CAR_M,
    JUNCTION_M,
    LANE_M,
)
from dials_async.kernels.compile import jit_leaf

#: Where the exit begins, and where cars have arrived: SUMO takes them away 0.1 m before the end.
EXIT_M = LANE_M + JUNCTION_M
ARRIVED_M = EXIT_M + LANE_M - 0.1

#: Cars that a line can hold. Cars do not overlap and are between 5 m and ARRIVED_M, so at most
#: 1 + floor(213.7 / 5) = 43 fit. (None was ever seen nearer to another than 7.5 m, front to front: the gap of
#: 2.5 m that insertion asks for is kept by the IDM; then 29 fit.) Only ``insert`` adds a car, and checks.
CAPACITY = 44

# These numbers spare work and change no result (test_car_following.py tries them). The IDM's next speed rises
# with the gap, with the leader's speed and, for gaps from _FAR_M, with the own speed. So a leader at least so
# far ahead that is no slower than the next car does not matter. Nor does the stop line to a car from which it
# is so far (it stops up to 1 m before), and at least a car's place further than the next car's rear, if that
# car is so slow that the IDM's gap to it, 2.5 m included, is wider than the gap to a standing line.
_FAR_M = 22.5
_FAR_LINE_M = _FAR_M + 1.0
_SLOW_MPS = 2.2
_QUEUE_M = 8.5

PerCar = NDArray[np.float64]  # [rows, lines, CAPACITY]


@jit_leaf
def cars_beyond(positions: PerCar, row: int, line: int, n: int, place: float) -> int:
    """How many of the ``n`` cars are beyond ``place``: the rearmost of them has this index less one."""
    count = 0
    while count < n and positions[row, line, count] > place:
        count += 1
    return count


@jit_leaf
def _limited(
    positions: PerCar, speeds: PerCar, row: int, line: int, k: int, leader: int, planned: float
) -> float:
    """``planned``, or less if ``leader``, somewhere ahead of the next car, makes car ``k`` slower."""
    speed, leader_speed = speeds[row, line, k], speeds[row, line, leader]
    gap = positions[row, line, leader] - CAR_M - positions[row, line, k]
    if gap >= _FAR_M and leader_speed >= speeds[row, line, k - 1]:
        return planned
    following = follow_speed(speed, gap, leader_speed)
    return following if following < planned else planned


@jit_leaf
def _planned_speed(
    positions: PerCar, speeds: PerCar, row: int, line: int, k: int, across: int, beyond: int, is_green: bool
) -> float:
    """The speed that car ``k`` plans; ``across`` cars are beyond the stop line, ``beyond`` the junction.

    Before a light that is not green a car stops, unless it cannot brake for it any more; of the cars ahead it
    heeds those that are on its lane, were it with their rear. Everybody else follows the next car, and also
    the last one on the junction and the last one on the exit: SUMO looks at the last car of each lane ahead.
    """
    position, speed = positions[row, line, k], speeds[row, line, k]
    seen = LANE_M - position
    must_stop = not is_green and seen >= 0.0 and seen >= brake_gap(speed)
    if k == 0:
        return stop_at_line_speed(speed, seen) if must_stop else free_speed(speed)
    leader_rear, leader_speed = positions[row, line, k - 1] - CAR_M, speeds[row, line, k - 1]
    gap = leader_rear - position
    if must_stop:
        if leader_rear >= LANE_M:
            return stop_at_line_speed(speed, seen)
        planned = follow_speed(speed, gap, leader_speed)
        if leader_speed <= _SLOW_MPS and seen >= _FAR_LINE_M and seen >= gap + _QUEUE_M:
            return planned
        stopping = stop_at_line_speed(speed, seen)
        return stopping if stopping < planned else planned
    planned = follow_speed(speed, gap, leader_speed)
    if 0 < beyond < k:
        planned = _limited(positions, speeds, row, line, k, beyond - 1, planned)
    if beyond < across < k:
        planned = _limited(positions, speeds, row, line, k, across - 1, planned)
    return planned


@jit_leaf
def move(positions: PerCar, speeds: PerCar, row: int, line: int, n: int, across: int, is_green: bool) -> int:
    """Move the ``n`` cars of a line, ``across`` of them beyond the stop line, by one second.

    Returns how many are left.
    """
    beyond = cars_beyond(positions, row, line, across, EXIT_M)
    # Cars look ahead only, at the speeds and places before this step: from the last to the first these are
    # still there.
    for k in range(n - 1, -1, -1):
        planned = _planned_speed(positions, speeds, row, line, k, across, beyond, is_green)
        speed = reachable_speed(speeds[row, line, k], planned)
        speeds[row, line, k] = speed
        positions[row, line, k] += speed
    arrived = cars_beyond(positions, row, line, n, ARRIVED_M)
    if arrived > 0:
        for k in range(arrived, n):
            positions[row, line, k - arrived] = positions[row, line, k]
            speeds[row, line, k - arrived] = speeds[row, line, k]
    return n - arrived


@jit_leaf
def insert(
    positions: PerCar, speeds: PerCar, row: int, line: int, n: int, position: float, speed: float
) -> int:
    """Let a car enter a line of ``n`` cars at ``position`` with ``speed``, if it fits, after all moved.

    Returns how many there are now.
    """
    if n == CAPACITY:
        return n
    if n > 0:
        gap = positions[row, line, n - 1] - CAR_M - position
        if not fits(speed, gap, speeds[row, line, n - 1]):
            return n
    positions[row, line, n] = position
    speeds[row, line, n] = speed
    return n + 1
