"""The road network of a grid, built with SUMO's netconvert and kept in the cache folder.

Intersections are ``x{row}_{column}``, counted from the north-west corner; roads that leave the grid end at
``n{column}``, ``s{column}``, ``w{row}`` and ``e{row}``. The edge from A to B is ``A.B``, its only lane
``A.B_0``. Only straight links exist, so every car crosses the grid on one line.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as Xml

from dials_async.domains.traffic.installation import Installation
from dials_async.domains.traffic.netconvert import (
    CAR_TYPE,
    NETWORK,
    build_once,
    car_type,
    document,
    link,
    road,
)
from dials_async.domains.traffic.rules import (
    ARRIVAL_PROBABILITY,
    CORNER_RADIUS_M,
    JUNCTION_M,
    LANE_M,
    YELLOW_S,
)

#: Distance between the centres of neighbouring intersections.
SPACING_M = LANE_M + JUNCTION_M

#: Names of the other files beside the network.
LIGHTS, DEMAND = "lights.add.xml", "demand.rou.xml"

#: Program of every light that follows SUMO's actuated control (the paper's hand-coded baseline), and its
#: parameters in the authors' network.
ACTUATED = "actuated"
_ACTUATED_S = {"min": 8, "max": 45}
_ACTUATED_PARAMETERS = {"max-gap": "3.0", "detector-gap": "0.8", "show-detectors": "false"}


@dataclass(frozen=True)
class Grid:
    """Names of a grid of ``side`` x ``side`` intersections."""

    side: int

    @property
    def lights(self) -> list[str]:
        """The intersections, row-major from the north-west: agent k has light k."""
        return [f"x{row}_{column}" for row in range(self.side) for column in range(self.side)]

    def node(self, row: int, column: int) -> str:
        """The intersection at (row, column), or the end of the road that leaves the grid there."""
        if row < 0:
            return f"n{column}"
        if row >= self.side:
            return f"s{column}"
        if column < 0:
            return f"w{row}"
        if column >= self.side:
            return f"e{row}"
        return f"x{row}_{column}"

    def approaches(self, agent: int) -> tuple[str, str, str, str]:
        """The edges that lead to the agent's light, from the north, south, east and west."""
        row, column = divmod(agent, self.side)
        own = self.node(row, column)
        sources = ((row - 1, column), (row + 1, column), (row, column + 1), (row, column - 1))
        north, south, east, west = (f"{self.node(*source)}.{own}" for source in sources)
        return north, south, east, west

    def is_outer(self, agent: int, approach: int) -> bool:
        """Whether cars on this approach of the agent come from outside of the grid."""
        return not self.approaches(agent)[approach].startswith("x")

    def exits(self, agent: int) -> tuple[str, str, str, str]:
        """The edges on which cars from the north, south, east and west leave the agent's light."""
        row, column = divmod(agent, self.side)
        own = self.node(row, column)
        goals = ((row + 1, column), (row - 1, column), (row, column - 1), (row, column + 1))
        north, south, east, west = (f"{own}.{self.node(*goal)}" for goal in goals)
        return north, south, east, west

    def lines(self) -> list[list[tuple[int, int]]]:
        """The 4 x side straight lines that cars drive, each as (row, column) from outer end to outer end."""
        ends = range(-1, self.side + 1)
        lines = []
        for k in range(self.side):
            southwards, eastwards = [(row, k) for row in ends], [(k, column) for column in ends]
            lines += [southwards, southwards[::-1], eastwards, eastwards[::-1]]
        return lines

    def routes(self) -> dict[str, list[str]]:
        """The route of each line by name, as edges from outer end to outer end."""
        result = {}
        for line in self.lines():
            nodes = [self.node(*place) for place in line]
            edges = [f"{a}.{b}" for a, b in pairwise(nodes)]
            result[f"{nodes[0]}-{nodes[-1]}"] = edges
        return result


@dataclass(frozen=True)
class NetworkFiles:
    """What SUMO loads."""

    network: Path
    lights: Path
    """Additional file: the actuated program of every light."""
    demand: Path
    """Route file: the car type, the routes, and a random flow on each."""


def network_files(side: int, sumo: Installation) -> NetworkFiles:
    """The files of the grid of ``side`` x ``side`` intersections, made now if the cache has none.

    Raises SimulatorError if netconvert fails.
    """
    grid = Grid(side)
    routes = grid.routes().values()
    folder = build_once(
        f"{side}x{side}",
        _nodes(grid),
        [road(edge) for edges in routes for edge in edges],
        [link(a, b) for edges in routes for a, b in pairwise(edges)],
        {LIGHTS: _lights(grid), DEMAND: _demand(grid)},
        sumo,
    )
    return NetworkFiles(folder / NETWORK, folder / LIGHTS, folder / DEMAND)


def _nodes(grid: Grid) -> list[Xml.Element]:
    elements = []
    for row in range(-1, grid.side + 1):
        for column in range(-1, grid.side + 1):
            outside = [k < 0 or k >= grid.side for k in (row, column)]
            if all(outside):
                continue
            # A road that leaves the grid ends where its lane is over: it crosses no intersection there.
            x, y = (_place(column, grid.side), _place(grid.side - 1 - row, grid.side))
            attributes = {"id": grid.node(row, column), "x": f"{x:.2f}", "y": f"{y:.2f}"}
            if any(outside):
                attributes["type"] = "priority"
            else:
                attributes |= {"type": "traffic_light", "radius": str(CORNER_RADIUS_M)}
            elements.append(Xml.Element("node", attributes))
    return elements


def _place(k: int, side: int) -> float:
    if k < 0:
        return -LANE_M - JUNCTION_M / 2
    if k >= side:
        return (side - 1) * SPACING_M + LANE_M + JUNCTION_M / 2
    return k * SPACING_M


def _lights(grid: Grid) -> str:
    elements = []
    for light in grid.lights:
        attributes = {"id": light, "type": "actuated", "programID": ACTUATED, "offset": "0"}
        logic = Xml.Element("tlLogic", attributes)
        logic.extend(Xml.Element("param", {"key": k, "value": v}) for k, v in _ACTUATED_PARAMETERS.items())
        for state, is_green in (("GrGr", True), ("yryr", False), ("rGrG", True), ("ryry", False)):
            phase = {"state": state, "duration": str(_ACTUATED_S["min"] if is_green else YELLOW_S)}
            if is_green:
                phase |= {"minDur": str(_ACTUATED_S["min"]), "maxDur": str(_ACTUATED_S["max"])}
            logic.append(Xml.Element("phase", phase))
        elements.append(logic)
    return document("additional", elements)


def _demand(grid: Grid) -> str:
    elements = [car_type()]
    for name, edges in grid.routes().items():
        elements.append(Xml.Element("route", {"id": name, "edges": " ".join(edges)}))
    for name in grid.routes():
        flow = {"id": f"flow-{name}", "type": CAR_TYPE, "route": name, "begin": "0", "end": "1000000"}
        flow |= {"probability": f"{ARRIVAL_PROBABILITY}", "departSpeed": "10", "departLane": "free"}
        elements.append(Xml.Element("flow", flow))
    return document("routes", elements)
