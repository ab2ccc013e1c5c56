"""How a car chooses its speed: SUMO's intelligent driver model and its rules for stopping, compiled.

Facts about SUMO 1.28 (steps of 1 s, the new speed holds for the whole step), checked against it by
``validate``; the model: Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and
microscopic simulations" (Physical Review E 62, 2000). Compiled without reordering of the arithmetic. Where
SUMO divides by a constant or takes a power, this multiplies, a fifth faster: a speed may differ in its last
bit, and positions by about 1e-12 m over an episode.
"""

import math

from dials_async.domains.traffic.rules import (
    ACCEL_MPS2,
    DECEL_MPS2,
    EMERGENCY_DECEL_MPS2,
    HEADWAY_S,
    MAX_SPEED_MPS,
    MIN_GAP_M,
)
from dials_async.kernels.compile import jit_leaf

#: SUMO integrates the IDM in steps of a quarter of a second.
_SUB_STEPS = 4

#: 1 / (2 sqrt(a b)) of the IDM.
_ONE_BY_TWO_SQRT_AB = 1.0 / (2.0 * math.sqrt(ACCEL_MPS2 * DECEL_MPS2))

_ONE_BY_MAX_SPEED = 1.0 / MAX_SPEED_MPS

#: SUMO's smallest gap, and the speed below which a car counts as standing.
_EPSILON = 1e-3

#: Nearer to where it has to stop than this a car stands.
_STOPPED_GAP_M = 0.01

#: A car does not move more slowly than this.
_LEAST_SPEED_MPS = 1e-4

#: The gap to a leader that is not there.
_FREE_GAP_M = 1e6

#: Where a car stops before a line: _STOP_M ahead of it, or nearer if it needs that to brake, but not nearer
#: than _LEAST_STOP_M.
_STOP_M = 1.0
_LEAST_STOP_M = 0.1


@jit_leaf
def _idm(speed: float, gap: float, leader_speed: float, least_gap: float) -> float:
    """Speed after one second behind a leader that keeps its speed; ``gap`` includes ``least_gap``."""
    for _ in range(_SUB_STEPS):
        wanted = speed * HEADWAY_S + speed * (speed - leader_speed) * _ONE_BY_TWO_SQRT_AB
        wanted = (wanted if wanted > 0.0 else 0.0) + least_gap
        gap = gap if gap > _EPSILON else _EPSILON
        ratio = speed * _ONE_BY_MAX_SPEED
        square = ratio * ratio
        acceleration = ACCEL_MPS2 * (1.0 - square * square - (wanted * wanted) / (gap * gap))
        speed = speed + acceleration / _SUB_STEPS
        speed = speed if speed > 0.0 else 0.0
        closing = (speed - leader_speed) / _SUB_STEPS
        gap -= closing if closing > 0.0 else 0.0
    return speed


@jit_leaf
def free_speed(speed: float) -> float:
    """Next speed on an empty road; it is never below the next speed behind a leader or before a stop."""
    return _idm(speed, _FREE_GAP_M, MAX_SPEED_MPS, 0.0)


@jit_leaf
def follow_speed(speed: float, gap: float, leader_speed: float) -> float:
    """Next speed behind a leader; ``gap`` is the way to its rear bumper."""
    return _idm(speed, gap, leader_speed, MIN_GAP_M)


@jit_leaf
def stop_speed(speed: float, gap: float) -> float:
    """Next speed of a car that has to stop within ``gap`` metres."""
    if gap < _STOPPED_GAP_M:
        return 0.0
    result = _idm(speed, gap, 0.0, 0.0)
    if speed < _EPSILON and result < _EPSILON:
        # The IDM would stand still for ever just before it is there. SUMO then takes Krauss' safe speed,
        # which for so small a gap is: to be there after this step.
        result = gap - _EPSILON
    return result if result < gap else gap


@jit_leaf
def brake_gap(speed: float) -> float:
    """Way to a stop in whole steps of 1 s, braking as hard as is comfortable (for speeds below 15 m/s)."""
    return speed - DECEL_MPS2 if speed >= DECEL_MPS2 else 0.0


@jit_leaf
def stop_at_line_speed(speed: float, seen: float) -> float:
    """Next speed of a car that stops before a line ``seen`` >= ``brake_gap(speed)`` metres ahead."""
    offset = seen - brake_gap(speed)
    offset = offset if offset < _STOP_M else _STOP_M
    offset = offset if offset > _LEAST_STOP_M else _LEAST_STOP_M
    return stop_speed(speed, seen - offset)


@jit_leaf
def reachable_speed(speed: float, planned: float) -> float:
    """The planned speed, as far as a car can brake for it."""
    least = speed - EMERGENCY_DECEL_MPS2
    reachable = planned if planned > least else least
    return reachable if reachable >= _LEAST_SPEED_MPS else 0.0


@jit_leaf
def fits(speed: float, gap: float, leader_speed: float) -> bool:
    """Whether a car may enter at ``speed``, ``gap`` metres behind the rear bumper of its leader."""
    wanted = speed * HEADWAY_S + speed * (speed - leader_speed) * _ONE_BY_TWO_SQRT_AB
    return gap - MIN_GAP_M >= (wanted if wanted > 0.0 else 0.0)
