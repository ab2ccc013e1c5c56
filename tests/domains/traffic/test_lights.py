"""The light's state machine: three seconds of yellow, actions ignored meanwhile, no shortest green."""

import numpy as np
import pytest

from dials_async.domains.traffic.lights import Lights
from dials_async.domains.traffic.rules import EW_GREEN, EW_YELLOW, KEEP, NS_GREEN, NS_YELLOW, SIGNALS, SWITCH


def phases_under(actions: list[int]) -> list[int]:
    lights = Lights(1)
    shown = []
    for action in actions:
        lights.step(np.array([action], dtype=np.uint8))
        shown.append(lights.phases[0])
    return shown


def test_a_light_that_nobody_switches_stays_green_for_north_and_south() -> None:
    assert phases_under([KEEP] * 400) == [NS_GREEN] * 400


def test_a_switch_shows_yellow_for_exactly_three_seconds() -> None:
    assert phases_under([SWITCH, KEEP, KEEP, KEEP, KEEP]) == [NS_YELLOW] * 3 + [EW_GREEN] * 2


def test_always_switching_gives_cycles_of_eight_seconds() -> None:
    # When: the first action that counts after yellow is the one after green came.
    cycle = [NS_YELLOW] * 3 + [EW_GREEN] + [EW_YELLOW] * 3 + [NS_GREEN]
    assert phases_under([SWITCH] * 16) == cycle * 2


@pytest.mark.parametrize("second", [1, 2, 3])
def test_actions_during_yellow_change_nothing(second: int) -> None:
    actions = [SWITCH, KEEP, KEEP, KEEP, KEEP, KEEP]
    pressed = list(actions)
    pressed[second] = SWITCH
    assert phases_under(pressed) == phases_under(actions)


def test_each_light_goes_its_own_way_and_says_when_it_changed() -> None:
    lights = Lights(2)
    assert lights.step(np.array([KEEP, SWITCH], dtype=np.uint8)) == [1]
    assert lights.phases == [NS_GREEN, NS_YELLOW]
    assert lights.seconds == [1, 1]


def test_signals_are_in_the_order_of_the_links_north_east_south_west() -> None:
    assert SIGNALS[NS_GREEN] == "GrGr"
    assert SIGNALS[EW_YELLOW] == "ryry"
