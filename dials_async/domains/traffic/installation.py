"""Finding SUMO: the binaries of the eclipse-sumo wheel, their version, and what is said when they miss."""

import functools
import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from dials_async.errors import SimulatorError

#: The version that the LS kernel was validated against: results change with it.
SUMO_VERSION = "1.28.0"

_HOW_TO_INSTALL = "run 'make sumo', or: pip install -c constraints.txt 'dials-async[traffic]'"


@dataclass(frozen=True)
class Installation:
    """A SUMO of a known version."""

    home: Path
    version: str

    def binary(self, name: str) -> Path:
        """The program ``name`` (sumo, sumo-gui, netconvert)."""
        return self.home / "bin" / name

    def environment(self) -> dict[str, str]:
        """The environment for SUMO's processes."""
        return {**os.environ, "SUMO_HOME": str(self.home)}


@functools.cache
def find_sumo(wanted_version: str = SUMO_VERSION) -> Installation:
    """The installed SUMO. Raises SimulatorError if there is none, or none that starts, or another version."""
    found = importlib.util.find_spec("sumo")
    if found is None or not found.submodule_search_locations:
        raise SimulatorError(f"the traffic domain needs SUMO, which is not installed: {_HOW_TO_INSTALL}")
    home = Path(next(iter(found.submodule_search_locations)))
    try:
        done = subprocess.run(
            [str(home / "bin" / "sumo"), "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SimulatorError(f"SUMO does not start: {error}; {_HOW_TO_INSTALL}") from None
    version = re.search(r"SUMO sumo (?:Version )?v?(\d+[._]\d+[._]\d+)", done.stdout)
    if done.returncode != 0 or version is None:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise SimulatorError(f"SUMO does not start: {reason[-1]}; {_HOW_TO_INSTALL}")
    number = version[1].replace("_", ".")
    if number != wanted_version:
        raise SimulatorError(
            f"SUMO {number} is installed, and {wanted_version} is needed, since results change with the "
            f"version: {_HOW_TO_INSTALL}; or accept it with --set domain.sumo_version={number}, "
            f"after a look at 'dials validate traffic --sumo-version {number}'"
        )
    _require_its_libraries(home, number)
    return Installation(home, number)


def _require_its_libraries(home: Path, number: str) -> None:
    """Raise SimulatorError if traci or libsumo are those of another SUMO, which PYTHONPATH may lead to."""
    for name in ("traci", "libsumo"):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # said where it is needed
            continue
        place = Path(found.origin).resolve().parent
        if place.parent != home.resolve().parent and not _is_installed(name, place, number):
            raise SimulatorError(
                f"{name} is found in {place}, which is not of the SUMO {number} in {home}: results change "
                "with the version; take that folder out of PYTHONPATH (SUMO_HOME needs no entry there)"
            )


def _is_installed(name: str, place: Path, version: str) -> bool:
    """Whether the package in ``place`` is the one that pip installed, of this version."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return False
    return Path(str(package.locate_file(name))).resolve() == place and package.version == version
