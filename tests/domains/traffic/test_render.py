"""The drawing of the traffic grid."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.domains.traffic.network import SPACING_M
from dials_async.domains.traffic.render import TrafficRecorder
from dials_async.domains.traffic.rules import EW_GREEN, EW_YELLOW, NS_GREEN, NS_YELLOW
from dials_async.domains.traffic.snapshot import Car
from dials_async.drawings import MAX_SCENE_BYTES
from dials_async.report.scene import pack_scene, validate_scene

NET_M = 337.6  # width and height of SUMO's 2 x 2 net; one world unit is 0.1 m
LANE_M = 5.3  # as drawn on 2 x 2; in SUMO it is 3.2 m
FIRST_M, SECOND_M = 109.4, 228.2  # the roads of the net, from the west and from the south


def frames_of(*cars: list[Car], rewards: list[float] | None = None) -> list[dict[str, Any]]:
    recorder = TrafficRecorder(side=2)
    for present in cars:
        recorder.add(present, [NS_GREEN] * 4, rewards)
    frames: list[dict[str, Any]] = validate_scene(recorder.scene())["frames"]
    return frames


def car(name: str = "a", x_m: float = 50.0, speed_mps: float = 10.0) -> Car:
    """An eastbound car on the southern road."""
    return Car(name, x_m, FIRST_M - 1.6, 90.0, speed_mps)


@pytest.mark.parametrize(
    ("seen", "x_m", "y_m", "heading"),
    [
        pytest.param(Car("a", FIRST_M + 1.6, 50, 0, 9), FIRST_M + LANE_M / 2, NET_M - 47.5, 90, id="north"),
        pytest.param(Car("a", 50, FIRST_M - 1.6, 90, 9), 47.5, SECOND_M + LANE_M / 2, 0, id="east"),
        pytest.param(
            Car("a", SECOND_M - 1.6, 50, 180, 9), SECOND_M - LANE_M / 2, NET_M - 52.5, 90, id="south"
        ),
        pytest.param(Car("a", 50, SECOND_M + 1.6, 270, 9), 52.5, FIRST_M - LANE_M / 2, 0, id="west"),
    ],
)
def test_a_car_is_a_bar_behind_its_bumper_on_the_right_side_of_the_road(
    seen: Car, x_m: float, y_m: float, heading: int
) -> None:
    _, x, y, _, drawn_heading = frames_of([seen])[0]["movers"][0]

    assert x == pytest.approx(10 * x_m, abs=0.51)
    assert y == pytest.approx(10 * y_m, abs=0.51)
    assert drawn_heading == heading


@pytest.mark.parametrize(
    ("speed_mps", "style"),
    [(0.0, "car standing"), (0.1, "car slow"), (4.9, "car slow"), (5.0, "car driving")],
)
def test_cars_are_coloured_by_speed(speed_mps: float, style: str) -> None:
    assert frames_of([car(speed_mps=speed_mps)])[0]["movers"][0][3] == style


@given(st.lists(st.sets(st.sampled_from("abcdefgh")), min_size=1, max_size=12))
def test_a_number_belongs_to_one_car_for_two_frames(episode: list[set[str]]) -> None:
    # Two cars that follow each other under one number would be drawn as one car that jumps.
    present = [sorted(names) for names in episode]
    frames = frames_of(*([car(name, x_m=10.0 * k) for k, name in enumerate(names)] for names in present))

    numbered = [
        dict(zip(names, (mover[0] for mover in frame["movers"]), strict=True))
        for names, frame in zip(present, frames, strict=True)
    ]
    for before, after in itertools.pairwise(numbered):
        assert len(set(after.values())) == len(after)
        for name, number in after.items():
            assert before.get(name, number) == number
            assert all(other == name for other, taken in before.items() if taken == number)


def test_numbers_are_used_again() -> None:
    frames = frames_of(*([car(f"car {k}")] for k in range(20)))

    assert {frame["movers"][0][0] for frame in frames} == {0, 1}


@pytest.mark.parametrize(
    ("phase", "style"),
    [
        (NS_GREEN, "green across"),
        (NS_YELLOW, "yellow across"),
        (EW_GREEN, "green along"),
        (EW_YELLOW, "yellow along"),
    ],
)
def test_lights_that_are_not_red_are_marked_before_their_intersection(phase: int, style: str) -> None:
    recorder = TrafficRecorder(side=2)
    recorder.add([], [NS_GREEN, NS_GREEN, NS_GREEN, phase], None)

    marks = validate_scene(recorder.scene())["frames"][0]["marks"]

    assert [mark[2] for mark in marks] == ["green across"] * 6 + [style] * 2
    # Agent 3 is in the south-east; each light stands on the right-hand side of who comes towards it.
    offsets = [(x / 10 - SECOND_M, y / 10 - SECOND_M) for x, y, _, _ in marks[6:]]
    along, beside = 9.4 - 0.8, 0.7 * LANE_M
    northsouth = [(-beside, -along), (beside, along)]
    eastwest = [(along, -beside), (-along, beside)]
    expected = northsouth if style.endswith("across") else eastwest
    for offset, place in zip(offsets, expected, strict=True):
        assert offset == pytest.approx(place, abs=0.06)


def test_every_light_is_red_in_the_background() -> None:
    lights = TrafficRecorder(side=3).scene()["background"][-1]

    assert lights["fill"] == "#f0453c"
    assert len(lights["at"]) == 9 * 4


def test_rewards_shade_the_intersections_and_are_summed() -> None:
    recorder = TrafficRecorder(side=2)
    recorder.add([], [NS_GREEN] * 4, None)
    recorder.add([car(), car("b", 60.0, 0.0)], [NS_GREEN] * 4, [0.0, 0.5, 1.0, 0.26])
    recorder.add([], [NS_GREEN] * 4, [1.0] * 4)

    first, second, third = recorder.scene()["frames"]

    assert not [mark for mark in first["marks"] if mark[2] == "reward"]
    assert [mark[3] for mark in second["marks"] if mark[2] == "reward"] == [0.0, 0.5, 1.0, 0.3]
    assert second["text"].splitlines() == [
        "Step 1",
        "Return so far 0.44, mean of the intersections",
        "2 cars, 1 standing",
    ]
    assert third["text"].startswith("Step 2\nReturn so far 1.44")


def test_wrong_numbers_of_phases_or_rewards_are_refused() -> None:
    recorder = TrafficRecorder(side=2)

    with pytest.raises(ValueError, match="4 phases"):
        recorder.add([], [NS_GREEN], None)
    with pytest.raises(ValueError, match="4 rewards"):
        recorder.add([], [NS_GREEN] * 4, [1.0])


def episode(side: int, cars: int, steps: int) -> TrafficRecorder:
    """As much to draw as a real episode has."""
    chance, recorder = random.Random(side), TrafficRecorder(side)
    end_m = (side - 1) * SPACING_M + 2 * FIRST_M
    roads = [(FIRST_M + chance.randrange(side) * SPACING_M, chance.randrange(4) * 90.0) for _ in range(cars)]
    for step in range(steps + 1):
        present = []
        for k, (road_m, angle) in enumerate(roads):
            way_m, speed = chance.uniform(0, end_m), chance.uniform(0, 10)
            x_m, y_m = (road_m, way_m) if angle % 180 == 0 else (way_m, road_m)
            present.append(Car(f"flow-{k}", x_m, y_m, angle, speed))
        rewards = None if step == 0 else [chance.random() for _ in range(side**2)]
        recorder.add(present, [chance.randrange(4) for _ in range(side**2)], rewards)
    return recorder


@pytest.mark.parametrize(
    ("side", "cars", "steps", "fewest"), [(2, 50, 300, 301), (5, 250, 60, 61), (10, 1200, 80, 50)]
)
def test_the_report_shows_every_frame_that_is_handed_out(
    side: int, cars: int, steps: int, fewest: int
) -> None:
    scene = validate_scene(episode(side, cars, steps).scene())

    text, shown = pack_scene(scene)

    assert shown == len(scene["frames"]) >= fewest
    assert len(text.encode()) <= MAX_SCENE_BYTES
    assert scene["frames"][-1]["text"].startswith(f"Step {steps}\n")


def test_the_title_says_which_steps_are_shown() -> None:
    everything, window = episode(2, 4, 20), TrafficRecorder(side=2, max_bytes=8_000)
    for _ in range(21):
        window.add([car()], [NS_GREEN] * 4, [1.0] * 4)

    shown = window.scene()

    assert everything.scene()["title"] == "Traffic grid with 4 intersections"
    first = shown["frames"][0]["text"].split()[1]
    assert 1 < int(first) < 21
    assert shown["title"] == f"Traffic grid with 4 intersections, steps {first} to 21"
