"""The road network of many local simulations: one intersection, copied, without any road between the copies.

libsumo allows one simulation in a process, so validation runs all its rows in one: row k's intersection is
``k_x``, its roads end at ``k_n``, ``k_s``, ``k_e`` and ``k_w``.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

from dials_async.domains.traffic.installation import Installation
from dials_async.domains.traffic.netconvert import NETWORK, build_once, car_type, document, link, road
from dials_async.domains.traffic.rules import CORNER_RADIUS_M, JUNCTION_M, LANE_M

#: Name of the demand beside the network.
DEMAND = "empty.rou.xml"

#: Distance from an intersection's centre to the end of its roads.
REACH_M = LANE_M + JUNCTION_M / 2

#: Distance between the centres of the copies: wide enough that nothing touches.
COPY_SPACING_M = 3 * REACH_M

#: The side from which cars come, in the order of the approaches, the side to which they go, and where it is
#: (x to the east, y to the north).
_SIDES = ("n", "s", "e", "w")
_OPPOSITE = {"n": "s", "s": "n", "e": "w", "w": "e"}
_PLACE = {"n": (0, 1), "s": (0, -1), "e": (1, 0), "w": (-1, 0)}


@dataclass(frozen=True)
class Row:
    """Names of one copy; tuples are in the order of the approaches."""

    index: int

    @property
    def light(self) -> str:
        """The intersection."""
        return f"{self.index}_x"

    @property
    def approaches(self) -> tuple[str, ...]:
        """The edges that lead to the light."""
        return tuple(f"{self.index}_{side}.{self.light}" for side in _SIDES)

    @property
    def exits(self) -> tuple[str, ...]:
        """The edges on which cars of each approach leave."""
        return tuple(f"{self.light}.{self.index}_{_OPPOSITE[side]}" for side in _SIDES)

    @property
    def routes(self) -> tuple[str, ...]:
        """The route of each approach, straight through."""
        return tuple(f"{self.index}_{side}" for side in _SIDES)


@dataclass(frozen=True)
class LocalNetworkFiles:
    """What SUMO loads."""

    network: Path
    demand: Path
    """Route file: the car type and the routes, no cars."""


def local_network_files(n_rows: int, sumo: Installation) -> LocalNetworkFiles:
    """The files of ``n_rows`` copies of one intersection, made now if the cache has none.

    Raises SimulatorError if netconvert fails.
    """
    rows = [Row(k) for k in range(n_rows)]
    folder = build_once(
        f"rows{n_rows}",
        [node for row in rows for node in _nodes(row)],
        [road(edge) for row in rows for edge in (*row.approaches, *row.exits)],
        [link(a, b) for row in rows for a, b in zip(row.approaches, row.exits, strict=True)],
        {DEMAND: document("routes", [car_type(), *(route for row in rows for route in _routes(row))])},
        sumo,
    )
    return LocalNetworkFiles(folder / NETWORK, folder / DEMAND)


def _nodes(row: Row) -> list[Xml.Element]:
    x = row.index * COPY_SPACING_M
    light = {"id": row.light, "x": f"{x:.2f}", "y": "0.00", "type": "traffic_light"}
    elements = [Xml.Element("node", {**light, "radius": str(CORNER_RADIUS_M)})]
    for side, (east, north) in _PLACE.items():
        place = {"x": f"{x + east * REACH_M:.2f}", "y": f"{north * REACH_M:.2f}"}
        elements.append(Xml.Element("node", {"id": f"{row.index}_{side}", **place, "type": "priority"}))
    return elements


def _routes(row: Row) -> list[Xml.Element]:
    return [
        Xml.Element("route", {"id": name, "edges": f"{a} {b}"})
        for name, a, b in zip(row.routes, row.approaches, row.exits, strict=True)
    ]
