"""From the simulator to the drawing."""

from typing import Any, cast

import numpy as np

from dials_async.domains.traffic.drawing import TrafficDrawing
from dials_async.domains.traffic.rules import EW_GREEN, NS_GREEN
from dials_async.domains.traffic.simulator import TrafficGlobal
from dials_async.domains.traffic.snapshot import Car, Snapshot
from dials_async.report.scene import validate_scene


class Parked:
    """A simulator in which one car stands before the light."""

    def snapshot(self) -> Snapshot:
        return Snapshot([Car("flow.0", 99.0, 107.8, 90.0, 0.0)], [NS_GREEN, NS_GREEN, EW_GREEN, NS_GREEN])


def drawn(rewards: list[np.ndarray[Any, Any] | None]) -> dict[str, Any]:
    drawing = TrafficDrawing(side=2)
    for paid in rewards:
        drawing.capture(cast(TrafficGlobal, Parked()), paid)
    return dict(validate_scene(drawing.scene()))


def test_a_frame_shows_the_cars_and_lights_of_the_simulator() -> None:
    frame = drawn([None])["frames"][0]

    assert [mover[3] for mover in frame["movers"]] == ["car standing"]
    assert [mark[2] for mark in frame["marks"]] == [
        *["green across"] * 4,
        *["green along"] * 2,
        *["green across"] * 2,
    ]


def test_rewards_are_those_of_the_first_environment() -> None:
    # Given: two environments, [agents, envs].
    rewards = np.array([[0.5, 9.0], [1.0, 9.0], [0.0, 9.0], [0.5, 9.0]], dtype=np.float32)

    text = drawn([None, rewards])["frames"][1]["text"]

    assert text.startswith("Step 1\nReturn so far 0.50, mean of the intersections\n")
