"""The scripted policies' returns: measured once on a machine, then kept in the cache folder for all runs.

They are functions of the code, the domain's options, the policy, the number of episodes and one seed: a file
is named after a hash of all these, and holds the very numbers that were measured.
"""

import hashlib
import inspect
import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dials_async.cache import cache_folder
from dials_async.domains.base import Domain
from dials_async.domains.checked import CheckedDomain
from dials_async.domains.registry import result_options
from dials_async.evaluation.evaluate import summarise
from dials_async.rollout.joint import run_scripted

logger = logging.getLogger("dials_async.evaluation")

#: Runs share the baselines' episodes: the same seed for every run, so that runs compare with one number.
BASELINE_SEED = 0

#: Files that are kept, the newest: a few for each domain, size and number of episodes.
KEPT_FILES = 200

#: Packages that episodes are computed with; only traffic needs the last one.
_PACKAGES = ("numpy", "numba", "eclipse-sumo")

#: Modules of classes that a domain inherits from, and that are none of its own.
_BASES = ("builtins", "typing", Domain.__module__)

#: Our source that returns of any domain depend on, beside the domain's own package.
_PACKAGE = Path(__file__).resolve().parent.parent
_SOURCE = ("kernels/*.py", "domains/*.py", "rollout/joint.py", "evaluation/*.py")


@dataclass(frozen=True)
class Baseline:
    """What a scripted policy reaches."""

    mean: float
    """Return of an episode, over agents and episodes."""
    standard_error: float
    """Of the mean, over episodes."""
    measured: bool
    """Now; else it was found in the cache."""


def baseline(
    domain: CheckedDomain, table: Mapping[str, Any], name: str, episodes: int, pool: Executor | None = None
) -> Baseline:
    """The returns of the scripted policy ``name``, measured if the cache does not know them.

    Args:
        domain: that ``table``, the configuration's section, makes.
        table: its name and options.
        name: one of the domain's baselines.
        episodes: how many.
        pool: as in ``rollout.joint.run_joint``.

    A cache that cannot be read or written costs time and a line of warning, never the run. Raises what the
    simulator raises.
    """
    what = _what(domain, table, name, episodes)
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    file = cache_folder() / "baselines" / f"{table['name']}-{name}-{key}.json"
    found = _read(file)
    if found is not None:
        return found
    result = summarise(run_scripted(domain, name, episodes, BASELINE_SEED, pool))
    measured = Baseline(result.mean, result.standard_error, measured=True)
    _write(file, {**what, "mean": measured.mean, "se": measured.standard_error})
    return measured


def _what(domain: CheckedDomain, table: Mapping[str, Any], name: str, episodes: int) -> dict[str, Any]:
    return {
        "domain": result_options(table),
        "policy": name,
        "episodes": episodes,
        "seed": BASELINE_SEED,
        "source": _source_hash(domain),
        "versions": dict(_versions()),
    }


def _source_hash(domain: CheckedDomain) -> str:
    """Of all source that returns depend on: ours, and every file of the package that the domain is in."""
    kinds = [kind for kind in type(domain.own).__mro__ if kind.__module__ not in _BASES]
    own = {path for kind in kinds for path in _files_with(kind)}
    digest = hashlib.sha256()
    for path in sorted(own) + sorted(path for part in _SOURCE for path in _PACKAGE.glob(part)):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _files_with(kind: type) -> Iterator[Path]:
    """Those of the package of a domain's class; of our own package, only the domain's part."""
    file = Path(inspect.getfile(kind)).resolve()
    package = sys.modules[kind.__module__].__package__ or ""
    if not package:  # a single file
        yield file
        return
    folder = file.parent if package.startswith("dials_async.") else file.parents[package.count(".")]
    yield from (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield package, version(package)


def _read(file: Path) -> Baseline | None:
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        numbers = float(entry["mean"]), float(entry["se"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the baseline in %s cannot be used and is measured again: %r", file, error)
        return None
    if not all(map(math.isfinite, numbers)):
        logger.warning("the baseline in %s is not a number and is measured again", file)
        return None
    return Baseline(*numbers, measured=False)


def _write(file: Path, entry: Mapping[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: several processes may write the same at once.
        handle, unfinished = tempfile.mkstemp(dir=file.parent, suffix=".json")
        try:
            with open(handle, "w", encoding="utf-8") as text:
                json.dump(entry, text, indent=1)
            os.replace(unfinished, file)
        except OSError:
            os.unlink(unfinished)
            raise
        _remove_old(file.parent)
    except OSError as error:
        logger.warning("a baseline is not kept for other runs: %s", error)


def _remove_old(folder: Path) -> None:
    """Remove all but the newest files; among the old ones are those that killed processes left."""
    ages = []
    for path in folder.glob("*.json"):
        with suppress(FileNotFoundError):  # another process was faster
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages, reverse=True)[KEPT_FILES:]:
        path.unlink(missing_ok=True)
