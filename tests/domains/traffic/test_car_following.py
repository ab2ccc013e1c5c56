"""The compiled car-following rules: beside a plain reading of the model, and what the kernel relies on."""

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from dials_async.domains.traffic.car_following import (
    brake_gap,
    fits,
    follow_speed,
    free_speed,
    reachable_speed,
    stop_at_line_speed,
    stop_speed,
)
from dials_async.domains.traffic.line import _FAR_LINE_M, _FAR_M, _QUEUE_M, _SLOW_MPS
from dials_async.domains.traffic.rules import CAR_M, DECEL_MPS2, EMERGENCY_DECEL_MPS2, MAX_SPEED_MPS
from dials_async.kernels.compile import jit
from dials_async.kernels.rng import uniform

speeds = st.floats(0.0, MAX_SPEED_MPS)
gaps = st.floats(0.0, 220.0)

#: Of the millions of random cases below. Rounding may turn two equal numbers round by so much.
LAST_BITS = 1e-12


def idm(speed: float, gap: float, leader_speed: float, least_gap: float) -> float:
    """The intelligent driver model as its paper writes it, in four steps of a quarter of a second."""
    a, b, headway, top = 2.6, 7.5, 1.0, 10.0
    for _ in range(4):
        desired = least_gap + max(
            0.0, headway * speed + speed * (speed - leader_speed) / (2 * math.sqrt(a * b))
        )
        gap = max(gap, 0.001)
        speed = max(0.0, speed + a * (1 - math.pow(speed / top, 4) - math.pow(desired / gap, 2)) / 4)
        gap -= max(0.0, (speed - leader_speed) / 4)
    return speed


@given(speeds, gaps, speeds)
@example(10.0, 0.0, 0.0)
@example(0.0, 2.5, 0.0)
def test_following_is_the_intelligent_driver_model(speed: float, gap: float, leader: float) -> None:
    # A gap of next to nothing magnifies the last bits: they are compared relative to the braking it asks for.
    assert math.isclose(follow_speed(speed, gap, leader), idm(speed, gap, leader, 2.5), abs_tol=1e-9)


@given(speeds)
def test_driving_freely_is_the_intelligent_driver_model_without_a_leader(speed: float) -> None:
    assert math.isclose(free_speed(speed), idm(speed, 1e6, 10.0, 0.0), abs_tol=1e-12)


@given(speeds, gaps)
@example(0.0, 0.25)
@example(0.0, 0.0)
def test_a_stop_is_never_overshot(speed: float, gap: float) -> None:
    assert 0.0 <= stop_speed(speed, gap) <= max(gap, 0.0)


def test_a_standing_car_near_its_stop_gets_there() -> None:
    # The IDM alone would accelerate by less than SUMO lets a car move.
    assert idm(0.0, 0.2, 0.0, 0.0) < 1e-3
    assert stop_speed(0.0, 0.2) == 0.2 - 1e-3
    assert stop_speed(0.0, 0.009) == 0.0


@given(speeds)
def test_the_brake_gap_is_that_of_braking_step_by_step(speed: float) -> None:
    way, now = 0.0, speed - DECEL_MPS2
    while now > 0.0:
        way, now = way + now, now - DECEL_MPS2
    assert math.isclose(brake_gap(speed), way, abs_tol=1e-12)


@given(speeds, st.floats(0.0, 94.0))
def test_who_can_brake_does_not_cross_the_line_that_step(speed: float, beyond_brake_gap: float) -> None:
    seen = brake_gap(speed) + beyond_brake_gap
    planned = stop_at_line_speed(speed, seen)
    assert reachable_speed(speed, planned) <= max(seen, speed - EMERGENCY_DECEL_MPS2)


def test_a_car_stops_one_metre_before_the_line() -> None:
    position, speed = 6.0, 9.5
    for _ in range(120):
        speed = reachable_speed(speed, stop_at_line_speed(speed, 100.0 - position))
        position += speed
    assert speed == 0.0
    assert 98.95 < position <= 99.0


@given(speeds, st.floats(-20.0, MAX_SPEED_MPS))
def test_braking_is_bounded(speed: float, planned: float) -> None:
    reached = reachable_speed(speed, planned)
    assert reached >= speed - EMERGENCY_DECEL_MPS2
    assert reached == 0.0 or reached >= 1e-4


@given(speeds, gaps, speeds)
def test_speeds_stay_between_standing_and_the_limit(speed: float, gap: float, leader: float) -> None:
    planned = (follow_speed(speed, gap, leader), stop_speed(speed, gap), free_speed(speed))
    for following in planned:
        assert 0.0 <= following <= MAX_SPEED_MPS
        assert following <= free_speed(speed) + LAST_BITS
        assert following <= speed + 2.6


@given(st.sampled_from([3.0, 9.5]), speeds)
def test_a_car_enters_from_the_safe_gap_on(speed: float, leader: float) -> None:
    safe = 2.5 + max(0.0, speed + speed * (speed - leader) / (2 * math.sqrt(2.6 * 7.5)))
    assert fits(speed, safe + 1e-9, leader)
    assert not fits(speed, safe - 1e-9, leader)


@jit
def worst_shortcuts(streams: np.ndarray, n: int) -> tuple[float, float]:
    """How much slower, at most, a car would be if the kernel did not spare what it spares."""
    far = slow = 0.0
    for _ in range(n):
        speed, leader = 10.0 * uniform(streams, 0), 10.0 * uniform(streams, 0)
        gap = 100.0 * uniform(streams, 0) ** 3
        planned = follow_speed(speed, gap, leader)
        # A second leader, further ahead by a car at least, and no slower.
        second_gap = max(_FAR_M, gap + CAR_M + 20.0 * uniform(streams, 0) ** 2)
        second = leader + (10.0 - leader) * uniform(streams, 0) ** 3
        far = max(far, planned - follow_speed(speed, second_gap, second))
        # A line to stop at, beyond the next car, which is slow.
        slow_leader = _SLOW_MPS * uniform(streams, 0)
        seen = max(_FAR_LINE_M, gap + _QUEUE_M + 20.0 * uniform(streams, 0) ** 2)
        planned = follow_speed(speed, gap, slow_leader)
        slow = max(slow, planned - stop_at_line_speed(speed, seen))
    return far, slow


def test_what_the_kernel_spares_changes_nothing() -> None:
    far, slow = worst_shortcuts(np.array([5], dtype=np.uint64), 3_000_000)
    assert far < LAST_BITS
    assert slow < LAST_BITS
