"""The road network of a grid, built with SUMO's netconvert and kept in the cache folder.

Intersections are ``x{row}_{column}``, counted from the north-west corner; roads that leave the grid end at
``n{column}``, ``s{column}``, ``w{row}`` and ``e{row}``. The edge from A to B is ``A.B``, its only lane
``A.B_0``. Only straight links exist, so every car crosses the grid on one line.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as Xml

from dials_async.cache import cache_folder
from dials_async.domains.traffic.installation import Installation
from dials_async.domains.traffic.rules import (
    ACCEL_MPS2,
    ARRIVAL_PROBABILITY,
    CAR_M,
    CORNER_RADIUS_M,
    DECEL_MPS2,
    HEADWAY_S,
    JUNCTION_M,
    LANE_M,
    MAX_SPEED_MPS,
    MIN_GAP_M,
    SPEED_LIMIT_MPS,
    YELLOW_S,
)
from dials_async.errors import SimulatorError

#: Distance between the centres of neighbouring intersections.
SPACING_M = LANE_M + JUNCTION_M

#: Seconds until netconvert is given up: it takes one second for 10 x 10.
BUILD_TIMEOUT_S = 300.0

CAR_TYPE = "car"

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
    empty_demand: Path
    """Route file: the same without the flows."""


def network_files(side: int, sumo: Installation) -> NetworkFiles:
    """The files of the grid of ``side`` x ``side`` intersections, made now if the cache has none.

    Raises SimulatorError if netconvert fails.
    """
    grid = Grid(side)
    plain = {
        "nodes.nod.xml": _nodes(grid),
        "edges.edg.xml": _edges(grid),
        "connections.con.xml": _connections(grid),
    }
    made = {
        "lights.add.xml": _lights(grid),
        "demand.rou.xml": _demand(grid, flows=True),
        "empty.rou.xml": _demand(grid, flows=False),
    }
    key = hashlib.sha256(repr((sumo.version, plain, made, _netconvert_options())).encode()).hexdigest()[:12]
    folder = cache_folder() / "traffic" / f"sumo-{sumo.version}-{side}x{side}-{key}"
    files = NetworkFiles(
        folder / "grid.net.xml",
        folder / "lights.add.xml",
        folder / "demand.rou.xml",
        folder / "empty.rou.xml",
    )
    _build_once(folder, plain, made, sumo)
    return files


def _build_once(folder: Path, plain: Mapping[str, str], made: Mapping[str, str], sumo: Installation) -> None:
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as building:
        _build(Path(building), plain, made, sumo)
        os.chmod(building, 0o755)
        try:
            os.rename(building, folder)  # whole or not at all; another process may have been faster
        except OSError:
            if not folder.exists():
                raise
        else:
            os.mkdir(building)  # what TemporaryDirectory removes


def _build(folder: Path, plain: Mapping[str, str], made: Mapping[str, str], sumo: Installation) -> None:
    for name, text in {**plain, **made}.items():
        (folder / name).write_text(text, encoding="utf-8")
    nodes, edges, connections = (str(folder / name) for name in plain)
    command = [
        str(sumo.binary("netconvert")),
        *("--node-files", nodes, "--edge-files", edges, "--connection-files", connections),
        *("--output-file", str(folder / "grid.net.xml")),
        *_netconvert_options(),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            env=sumo.environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SimulatorError(f"SUMO's netconvert did not build the road network: {error}") from None
    if done.returncode != 0:
        first = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise SimulatorError(f"SUMO's netconvert did not build the road network: {first[0]}")


def _netconvert_options() -> list[str]:
    return ["--no-turnarounds", "--no-left-connections", "--tls.yellow.time", str(YELLOW_S)]


def _document(root: str, children: Iterable[Xml.Element]) -> str:
    element = Xml.Element(root)
    element.extend(children)
    Xml.indent(element)
    return Xml.tostring(element, encoding="unicode", xml_declaration=True) + "\n"


def _nodes(grid: Grid) -> str:
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
    return _document("nodes", elements)


def _place(k: int, side: int) -> float:
    if k < 0:
        return -LANE_M - JUNCTION_M / 2
    if k >= side:
        return (side - 1) * SPACING_M + LANE_M + JUNCTION_M / 2
    return k * SPACING_M


def _edges(grid: Grid) -> str:
    elements = []
    for edges in grid.routes().values():
        for edge in edges:
            start, end = edge.split(".")
            attributes = {"id": edge, "from": start, "to": end, "numLanes": "1"}
            attributes |= {"speed": f"{SPEED_LIMIT_MPS}", "length": f"{LANE_M:.2f}"}
            elements.append(Xml.Element("edge", attributes))
    return _document("edges", elements)


def _connections(grid: Grid) -> str:
    return _document(
        "connections",
        (
            Xml.Element("connection", {"from": a, "to": b, "fromLane": "0", "toLane": "0"})
            for edges in grid.routes().values()
            for a, b in pairwise(edges)
        ),
    )


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
    return _document("additional", elements)


def _car_type() -> Xml.Element:
    car = {
        "id": CAR_TYPE,
        "carFollowModel": "IDM",
        "accel": f"{ACCEL_MPS2}",
        "decel": f"{DECEL_MPS2}",
        "tau": f"{HEADWAY_S}",
        "minGap": f"{MIN_GAP_M}",
        "maxSpeed": f"{MAX_SPEED_MPS}",
        "length": f"{CAR_M}",
        "speedDev": "0",
    }
    return Xml.Element("vType", car)


def _demand(grid: Grid, flows: bool) -> str:
    elements = [_car_type()]
    for name, edges in grid.routes().items():
        elements.append(Xml.Element("route", {"id": name, "edges": " ".join(edges)}))
    for name in grid.routes() if flows else ():
        flow = {"id": f"flow-{name}", "type": CAR_TYPE, "route": name, "begin": "0", "end": "1000000"}
        flow |= {"probability": f"{ARRIVAL_PROBABILITY}", "departSpeed": "10", "departLane": "free"}
        elements.append(Xml.Element("flow", flow))
    return _document("routes", elements)
