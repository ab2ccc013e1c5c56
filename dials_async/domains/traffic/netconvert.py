"""Making SUMO's network and demand files: the elements that ours share, netconvert, and the cache folder."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as Xml

from dials_async.cache import cache_folder
from dials_async.domains.traffic.installation import Installation
from dials_async.domains.traffic.rules import (
    ACCEL_MPS2,
    CAR_M,
    DECEL_MPS2,
    HEADWAY_S,
    LANE_M,
    MAX_SPEED_MPS,
    MIN_GAP_M,
    SPEED_LIMIT_MPS,
    YELLOW_S,
)
from dials_async.errors import SimulatorError

#: Seconds until netconvert is given up: it takes one second for 10 x 10.
BUILD_TIMEOUT_S = 300.0

#: Seconds after which a folder in the making was left by a build that was killed: far above the timeout.
LEFTOVER_S = 3600.0

#: How folders that are being built are called.
_BUILDING = ".building-"

#: Name of the network in its folder.
NETWORK = "grid.net.xml"

CAR_TYPE = "car"

_OPTIONS = ("--no-turnarounds", "--no-left-connections", "--tls.yellow.time", str(YELLOW_S))


def document(root: str, children: Iterable[Xml.Element]) -> str:
    """An XML file with ``children`` below ``root``."""
    element = Xml.Element(root)
    element.extend(children)
    Xml.indent(element)
    return Xml.tostring(element, encoding="unicode", xml_declaration=True) + "\n"


def road(edge: str) -> Xml.Element:
    """The edge "FROM.TO": one lane, as long as an agent sees."""
    start, end = edge.split(".")
    attributes = {"id": edge, "from": start, "to": end, "numLanes": "1"}
    attributes |= {"speed": f"{SPEED_LIMIT_MPS}", "length": f"{LANE_M:.2f}"}
    return Xml.Element("edge", attributes)


def link(approach: str, beyond: str) -> Xml.Element:
    """The way across an intersection from one edge to another."""
    return Xml.Element("connection", {"from": approach, "to": beyond, "fromLane": "0", "toLane": "0"})


def car_type() -> Xml.Element:
    """The one type of car."""
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


def build_once(
    name: str,
    nodes: Iterable[Xml.Element],
    edges: Iterable[Xml.Element],
    links: Iterable[Xml.Element],
    others: Mapping[str, str],
    sumo: Installation,
) -> Path:
    """The folder with the network and the ``others`` (files by name), built now if the cache has none.

    Raises SimulatorError if netconvert fails.
    """
    plain = {
        "nodes.nod.xml": document("nodes", nodes),
        "edges.edg.xml": document("edges", edges),
        "connections.con.xml": document("connections", links),
    }
    key = hashlib.sha256(repr((sumo.version, plain, dict(others), _OPTIONS)).encode()).hexdigest()[:12]
    folder = cache_folder() / "traffic" / f"sumo-{sumo.version}-{name}-{key}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_BUILDING) as building:
        _build(Path(building), plain, others, sumo)
        os.chmod(building, 0o755)
        try:
            os.rename(building, folder)  # whole or not at all; another process may have been faster
        except OSError:
            if not folder.exists():
                raise
        else:
            os.mkdir(building)  # what TemporaryDirectory removes
    return folder


def _remove_leftovers(cache: Path) -> None:
    """Remove what builds that were killed have left; one that still runs is younger."""
    for path in cache.glob(f"{_BUILDING}*"):
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - path.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(path, ignore_errors=True)


def _build(folder: Path, plain: Mapping[str, str], others: Mapping[str, str], sumo: Installation) -> None:
    for name, text in {**plain, **others}.items():
        (folder / name).write_text(text, encoding="utf-8")
    nodes, edges, connections = (str(folder / name) for name in plain)
    command = [
        str(sumo.binary("netconvert")),
        *("--node-files", nodes, "--edge-files", edges, "--connection-files", connections),
        *("--output-file", str(folder / NETWORK)),
        *_OPTIONS,
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
