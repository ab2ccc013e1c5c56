"""Draws an episode of the traffic grid: roads, lights and cars, as a scene for the report's player."""

import itertools
import json
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from dials_async.domains.traffic.network import SPACING_M
from dials_async.domains.traffic.rules import (
    CAR_M,
    EW_GREEN,
    JUNCTION_M,
    LANE_M,
    MAX_SPEED_MPS,
    NS_GREEN,
    NS_YELLOW,
)
from dials_async.domains.traffic.snapshot import Car
from dials_async.drawings import MAX_SCENE_BYTES

#: Text on the page tells one mean, over the intersections.
_TITLE = "Traffic grid with {n} intersections"

#: A car below this speed stands (SUMO calls it halting below 0.1 m/s, where nobody sees it move either); one
#: below half of the speed limit is slow.
STANDING_MPS, SLOW_MPS = 0.1, MAX_SPEED_MPS / 2

_OUTER_M = LANE_M + JUNCTION_M / 2  # from the edge of the picture to the first intersection

# Colours are pairs: on a light page, on a dark page. Roads are dark on both, so that lights and cars glow.
_GROUND = ["#e6e4dc", "#171a1f"]
_LAWN = ["#d6e0c8", "#1e2a25"]
_TREE = ["#bccfaa", "#2a3b32"]
_HOUSES = [["#d5d1c5", "#282d34"], ["#dcd7c9", "#242930"], ["#cecbc3", "#2d3239"]]
_PAVEMENT = ["#f6f5f0", "#343941"]
_ROAD = ["#4d525b", "#484d57"]
_PAINT = ["#ffffffa0", "#ffffff80"]
_OPEN = {"green": "#36e07a", "yellow": "#ffdb33"}
_RED = "#f0453c"
_CARS = {"driving": "#f2f7fa", "slow": "#ffa23e", "standing": "#ff5348"}
_OUTLINE = "#00000066"
#: No reward looks like the road itself.
_REWARDS = [_ROAD, ["#3d7ba8", "#2f78ad"], ["#3fa9ec", "#3aa6ee"]]

#: Half the width of a road with its pavements, in lanes.
_KERB = 1.4


class TrafficRecorder:
    """Collects the states of one episode and hands them out as a scene (``dials_async.report.scene``).

    Along the roads everything is true to scale; across them, lanes and cars are widened, so that a lane is
    still seen where the whole grid is a thousand metres wide.

    Args:
        side: Intersections a side.
        max_bytes: Upper bound for the scene in the report's compact form. The report would drop the last
            frames: the first ones, with few cars, give way instead.
    """

    def __init__(self, side: int, max_bytes: int = MAX_SCENE_BYTES) -> None:
        if side < 1:
            raise ValueError("side must be 1 or more")
        self._side = side
        self._extent_m = 2 * _OUTER_M + (side - 1) * SPACING_M
        # Whole numbers of at most four digits keep the report small: 0.1 m where that is enough.
        self._unit_m = 0.1 if self._extent_m < 1000 else 0.2
        self._lane_m = min(8.5, 4.5 + 0.4 * side)
        self._light_m = (1.3 * self._lane_m, 1.2 + 0.2 * side)
        self._number_of: dict[str, int] = {}  # of the cars in the last frame
        self._frames: deque[tuple[dict[str, Any], int]] = deque()
        self._left_out = self._steps = 0
        self._return = 0.0
        self._room = max_bytes - len(json.dumps(self._scene_without_frames()))

    def add(self, cars: Sequence[Car], phases: Sequence[int], rewards: Sequence[float] | None) -> None:
        """Add one frame: the state after a step.

        Args:
            cars: Every car on the roads.
            phases: Phase of each intersection's light (``rules.NS_GREEN``, ...), row-major.
            rewards: What each intersection was paid in this step, row-major; None for the state after a
                reset.
        """
        agents = self._side**2
        if len(phases) != agents:
            raise ValueError(f"{agents} phases expected, got {len(phases)}")
        if rewards is not None:
            if len(rewards) != agents:
                raise ValueError(f"{agents} rewards expected, got {len(rewards)}")
            self._return += sum(map(float, rewards)) / agents
            self._steps += 1
        self._renumber([car.id for car in cars])
        movers = [[self._number_of[car.id], *self._mover(car)] for car in cars]
        marks = [] if rewards is None else [self._paid(k, reward) for k, reward in enumerate(rewards)]
        marks += [mark for k, phase in enumerate(phases) for mark in self._open_lights(k, phase)]
        standing = sum(car.speed_mps < STANDING_MPS for car in cars)
        text = (
            f"Step {self._steps}\nReturn so far {self._return:.2f}, mean of the intersections\n"
            f"{len(cars)} cars, {standing} standing"
        )
        frame = {"movers": movers, "marks": marks, "text": text}
        size = _packed_bytes(frame)
        self._frames.append((frame, size))
        self._room -= size
        while self._room < 0 and len(self._frames) > 1:
            self._room += self._frames.popleft()[1]
            self._left_out += 1

    def scene(self) -> dict[str, Any]:
        """The drawing of the frames so far: all, or as many of the last ones as fit."""
        scene = self._scene_without_frames()
        if self._left_out > 0:
            scene["title"] += f", steps {self._steps + 1 - len(self._frames)} to {self._steps}"
        return {**scene, "frames": [frame for frame, _ in self._frames]}

    def _renumber(self, names: Sequence[str]) -> None:
        """Small whole numbers for the cars, each the same for as long as the car is there."""
        # None of the last frame: a new car would glide to its place from that of the car that has gone.
        taken, known = set(self._number_of.values()), self._number_of
        fresh = (number for number in itertools.count() if number not in taken)
        self._number_of = {name: known[name] if name in known else next(fresh) for name in names}

    def _scene_without_frames(self) -> dict[str, Any]:
        extent = self._units(self._extent_m)[0]
        return {
            "title": _TITLE.format(n=self._side**2),
            "width": extent,
            "height": extent,
            "background": self._background(),
            "styles": self._styles(),
            "legend": [
                {"style": "car driving", "label": "driving car"},
                {"style": "car slow", "label": f"slow car, below {SLOW_MPS:g} m/s"},
                {"style": "car standing", "label": "standing car"},
                {"style": "green across", "label": "green light"},
                {"style": "yellow across", "label": "yellow light"},
                {"style": "red", "label": "red light"},
                {"style": "reward", "label": "intersection, reward of this step", "range": ["0", "1"]},
            ],
        }

    def _units(self, *metres: float) -> list[int]:
        return [round(m / self._unit_m) for m in metres]

    def _axis_m(self, k: int) -> float:
        """Middle of the k-th road from the west or north."""
        return _OUTER_M + k * SPACING_M

    def _mover(self, car: Car) -> list[Any]:
        """x, y, style and heading of a car: the middle of its body, on its widened lane."""
        quarter = round(car.angle_deg / 90) % 4  # north, east, south, west
        is_upright, x, y = quarter in (0, 2), car.x_m, self._extent_m - car.y_m
        # Half a car back from the bumper, and keep to the right.
        back = CAR_M / 2 if quarter in (0, 3) else -CAR_M / 2
        beside = self._lane_m / 2 if quarter in (0, 1) else -self._lane_m / 2
        if is_upright:
            x, y = self._axis_m(round((x - _OUTER_M) / SPACING_M)) + beside, y + back
        else:
            x, y = x + back, self._axis_m(round((y - _OUTER_M) / SPACING_M)) + beside
        speed = car.speed_mps
        style = "standing" if speed < STANDING_MPS else "slow" if speed < SLOW_MPS else "driving"
        # A bar looks the same from both ends: only its axis matters.
        return [*self._units(x, y), f"car {style}", 90 if is_upright else 0]

    def _paid(self, agent: int, reward: float) -> list[Any]:
        row, column = divmod(agent, self._side)
        value = round(min(1.0, max(0.0, float(reward))), 1)
        return [*self._units(self._axis_m(column), self._axis_m(row)), "reward", value]

    def _open_lights(self, agent: int, phase: int) -> list[list[Any]]:
        """The two lights of an intersection that are not red: red is in the background."""
        is_northsouth = phase in (NS_GREEN, NS_YELLOW)
        colour = "green" if phase in (NS_GREEN, EW_GREEN) else "yellow"
        places = self._lights(agent)[:2] if is_northsouth else self._lights(agent)[2:]
        style = f"{colour} across" if is_northsouth else f"{colour} along"
        return [[*self._units(x, y), style, 1] for x, y in places]

    def _lights(self, agent: int) -> list[tuple[float, float]]:
        """Middles (x, y in metres) of the lights at the approaches from north, south, east and west."""
        row, column = divmod(agent, self._side)
        x, y = self._axis_m(column), self._axis_m(row)
        # Just beyond the line where cars wait, unless the widened roads cross there; from the middle of the
        # road to the far side of the pavement.
        away = max(JUNCTION_M / 2 - self._light_m[1] / 2, self._lane_m + self._light_m[1] / 2)
        beside = 0.05 * self._lane_m + self._light_m[0] / 2
        return [
            (x - beside, y - away),
            (x + beside, y + away),
            (x + away, y - beside),
            (x - away, y + beside),
        ]

    def _styles(self) -> dict[str, dict[str, Any]]:
        styles: dict[str, dict[str, Any]] = {}
        lane = self._lane_m
        length, width, outline, shade = self._units(CAR_M, 0.46 * lane, 0.06 * lane, 1.85 * lane)
        for name, fill in _CARS.items():
            car = {"shape": "bar", "size": length, "width": width, "fill": fill, "steady": True}
            styles[f"car {name}"] = {**car, "stroke": _OUTLINE, "line": outline}
        # A mark has no heading: the size of its bar is the extent in x.
        long, deep = self._units(*self._light_m)
        for name, fill in _OPEN.items():
            styles[f"{name} across"] = {"shape": "bar", "size": long, "width": deep, "fill": fill}
            styles[f"{name} along"] = {"shape": "bar", "size": deep, "width": long, "fill": fill}
        styles["red"] = {"shape": "bar", "size": long, "width": deep, "fill": _RED}  # for the legend
        styles["reward"] = {"shape": "square", "size": shade, "ramp": _REWARDS}
        return styles

    def _background(self) -> list[dict[str, Any]]:
        """The city, roads with their markings, and all lights at red."""
        u, lane, end = self._units, self._lane_m, self._extent_m
        axes = [self._axis_m(k) for k in range(self._side)]

        def roads(half: float) -> list[list[int]]:
            upright = [u(a - half, 0, 2 * half, end) for a in axes]
            return upright + [u(0, a - half, end, 2 * half) for a in axes]

        # Where no roads cross, they have a line in the middle.
        bounds = [0.0, *(a + s * JUNCTION_M / 2 for a in axes for s in (-1, 1)), end]
        stretches = [(a, *stretch) for a in axes for stretch in zip(bounds[::2], bounds[1::2], strict=True)]
        middle = [line for a, p, q in stretches for line in (u(a, p, a, q), u(p, a, q, a))]
        lights = [self._lights(agent) for agent in range(self._side**2)]
        stop = JUNCTION_M / 2 + 0.4
        lines = [u(a + s * stop, b, a + s * stop, b - s * lane) for a in axes for b in axes for s in (-1, 1)]
        lines += [u(b, a + s * stop, b + s * lane, a + s * stop) for a in axes for b in axes for s in (-1, 1)]
        long, deep = self._light_m
        red = [u(x - long / 2, y - deep / 2, long, deep) for places in lights for x, y in places[:2]]
        red += [u(x - deep / 2, y - long / 2, deep, long) for places in lights for x, y in places[2:]]
        return [
            {"kind": "rect", "at": [u(0, 0, end, end)], "fill": _GROUND},
            *self._city(),
            {"kind": "rect", "at": roads(_KERB * lane), "fill": _PAVEMENT},
            {"kind": "rect", "at": roads(lane), "fill": _ROAD},
            {"kind": "line", "at": middle, "stroke": _PAINT, "line": u(0.09 * lane)[0], "dash": u(3.0)[0]},
            {"kind": "line", "at": lines, "stroke": _PAINT, "line": u(0.8)[0]},
            {"kind": "rect", "at": red, "fill": _RED, "radius": u(0.3 * deep)[0]},
        ]

    def _city(self) -> list[dict[str, Any]]:
        """Houses and parks between the roads, only to be looked at: always the same ones for a side."""
        chance = random.Random(self._side)
        kerbs = [self._axis_m(k) + s * _KERB * self._lane_m for k in range(self._side) for s in (-1, 1)]
        starts, ends = [0.0, *kerbs[1::2]], [*kerbs[::2], self._extent_m]
        spans = [(p + 4, q - p - 8) for p, q in zip(starts, ends, strict=True)]
        lots = 3 if self._side <= 5 else 2  # each way; on a large grid more would be dust
        lawns, trees, houses = [], [], []
        for (x, width), (y, height) in ((across, down) for across in spans for down in spans):
            w, h = width / lots, height / lots
            is_park = chance.random() < 0.14
            if is_park:
                lawns.append(self._units(x, y, width, height))
            for left, top in ((x + k % lots * w, y + k // lots * h) for k in range(lots**2)):
                p, q, r, s = (chance.random() for _ in range(4))
                if is_park or r < 0.12:
                    place = left + (0.25 + p / 2) * w, top + (0.25 + q / 2) * h
                    trees.append(self._units(*place, (0.1 + s / 8) * w))
                else:
                    place = left + (0.03 + 0.14 * p) * w, top + (0.03 + 0.14 * q) * h
                    sizes = (0.94 - 0.14 * p - 0.16 * r) * w, (0.94 - 0.14 * q - 0.16 * s) * h
                    houses.append(self._units(*place, *sizes))
        chance.shuffle(houses)
        corner = self._units(1.5)[0]
        return [
            {"kind": "rect", "at": lawns, "fill": _LAWN, "radius": 2 * corner},
            {"kind": "circle", "at": trees, "fill": _TREE},
            *(
                {"kind": "rect", "at": houses[k :: len(_HOUSES)], "fill": fill, "radius": corner}
                for k, fill in enumerate(_HOUSES)
            ),
        ]


def _packed_bytes(frame: dict[str, Any]) -> int:
    """Size of a frame in the report's compact form, where a style is a number of one digit."""
    flat = [0 if isinstance(v, str) else v for entry in frame["movers"] + frame["marks"] for v in entry]
    return len(json.dumps(flat, separators=(",", ":"))) + len(json.dumps(frame["text"])) + 40
