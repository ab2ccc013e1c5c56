"""Checkpoints on disk: a whole store in one safetensors file that is either good or known to be bad.

Arrays are tensors of the file, all else is one JSON text in its metadata, and a SHA-256 covers both. A file
is written beside its place and renamed into it, so that a kill at any moment leaves the one before. One
process writes to a folder.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dials_async.atomic import write_atomically
from dials_async.errors import CheckpointError
from dials_async.store.base import AipState, Array, Arrays, GroupSnapshot, GroupState, StoreSnapshot

#: Counted up when the layout below changes.
FORMAT = 2

#: The one before is what is left when the newest turns out to be damaged.
KEEP_FILES = 2

_PATTERN = "checkpoint-*.safetensors"


@dataclass(frozen=True, eq=False)
class LoadedCheckpoint:
    """The newest good checkpoint of a folder."""

    snapshot: StoreSnapshot
    path: Path
    warnings: tuple[str, ...]  # one line for every newer file that was skipped, with the reason


class _Damaged(Exception):
    """A file that is no good; an older one may be."""


def save_checkpoint(folder: Path, snapshot: StoreSnapshot, fingerprint: str) -> Path:
    """Write ``snapshot`` to a new file in ``folder`` and keep the newest KEEP_FILES.

    ``fingerprint`` stands for the configuration that a resumed run must share. Returns the file. Raises
    CheckpointError if the disk refuses (full, read-only); the files before are left as they were.
    """
    arrays, state = _dismantle(snapshot)
    text = json.dumps({"format": FORMAT, "fingerprint": fingerprint, **state}, sort_keys=True)
    content = save(arrays, {"state": text, "sha256": _digest(arrays, text)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = _files(folder)
        number = _number(files[0]) + 1 if files else 1
        path = folder / f"checkpoint-{number:08d}.safetensors"
        write_atomically(path, content, durable=True)
        for old in files[KEEP_FILES - 1 :]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot write a checkpoint to {folder}: {_cause(error)}; free or mend the disk"
        ) from None
    return path


def load_checkpoint(folder: Path, fingerprint: str) -> LoadedCheckpoint:
    """The newest good checkpoint in ``folder``; damaged newer ones are skipped with a warning.

    Raises CheckpointError if there is none, or if it belongs to another configuration.
    """
    try:
        files = _files(folder)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoints in {folder}: {_cause(error)}") from None
    if not files:
        raise CheckpointError(f"no checkpoint in {folder}")
    skipped: list[str] = []
    for path in files:
        try:
            arrays, state = _read(path)
        except _Damaged as damage:
            skipped.append(f"{path} is damaged: {damage}")
            continue
        if state["fingerprint"] != fingerprint:
            raise CheckpointError(
                f"{path} was written under another configuration (fingerprint {state['fingerprint']}, "
                f"this one has {fingerprint}); resume with the run's own config.toml or start another run"
            )
        return LoadedCheckpoint(_assemble(arrays, state), path, tuple(skipped))
    raise CheckpointError(
        f"no good checkpoint: {'; '.join(skipped)}; restore one from a copy, "
        f"or remove {folder.parent} and train anew"
    )


def _dismantle(snapshot: StoreSnapshot) -> tuple[dict[str, Array], dict[str, Any]]:
    """The snapshot as named arrays and JSON."""
    arrays: dict[str, Array] = {}
    groups, aips = [], []
    for group, known in snapshot.groups.items():
        state = known.state
        arrays |= {f"group/{group}/state/{name}": array for name, array in state.arrays.items()}
        arrays |= {f"group/{group}/weights/{version}": array for version, array in known.weights.items()}
        entry = {
            "group": group,
            "version": state.version,
            "steps": state.steps_per_agent,
            "meta": dict(state.meta),
        }
        groups.append(
            entry
            | {
                "older": sorted(known.weights),
                "holds": {str(version): sorted(held) for version, held in known.holds.items()},
            }
        )
    for aip in snapshot.aips:
        arrays |= {f"aip/{aip.version}/{name}": array for name, array in aip.arrays.items()}
        aips.append({"version": aip.version, "steps": aip.steps_per_agent, "meta": dict(aip.meta)})
    records = {kind: list(rows) for kind, rows in snapshot.records.items()}
    return arrays, {"groups": groups, "aips": aips, "records": records}


def _assemble(arrays: Arrays, state: dict[str, Any]) -> StoreSnapshot:
    """Invert ``_dismantle``."""

    def under(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    groups = {}
    for entry in state["groups"]:
        group, version = entry["group"], entry["version"]
        newest = GroupState(group, version, entry["steps"], under(f"group/{group}/state/"), entry["meta"])
        older = {v: arrays[f"group/{group}/weights/{v}"] for v in entry["older"]}
        holds = {int(version): frozenset(held) for version, held in entry["holds"].items()}
        groups[group] = GroupSnapshot(newest, older, holds)
    aips = tuple(
        AipState(entry["version"], entry["steps"], under(f"aip/{entry['version']}/"), entry["meta"])
        for entry in state["aips"]
    )
    return StoreSnapshot(groups, aips, {kind: tuple(rows) for kind, rows in state["records"].items()})


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays (read-only) and JSON of a file that passed all checks. Raises _Damaged."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except OSError as error:
        raise _Damaged(_cause(error)) from None
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise _Damaged(f"not a whole safetensors file ({error})") from None
    text = metadata.get("state", "")
    if metadata.get("sha256") != _digest(arrays, text):
        raise _Damaged("the checksum does not fit the content")
    state: dict[str, Any] = json.loads(text)
    if state["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {state['format']}, this version of dials-async reads {FORMAT}: "
            f"go on with the version that began the run{_version_of(state)}, or start another run"
        )
    for array in arrays.values():
        array.flags.writeable = False
    return arrays, state


def _version_of(state: dict[str, Any]) -> str:
    """Which version that was, by the first who took part; "" where another format has no such record."""
    records = state.get("records")
    rows = records.get("participants") if isinstance(records, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    found = re.search(r'"code": "([^"\\]*)"', first) if isinstance(first, str) else None
    return f" (dials-async {found.group(1)})" if found else ""


def _digest(arrays: Arrays, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """Checkpoints in ``folder``, newest first."""
    numbered = [path for path in folder.glob(_PATTERN) if _number(path) > 0]
    return sorted(numbered, key=_number, reverse=True)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("checkpoint-")
    return int(digits) if digits.isdecimal() else 0


def _cause(error: OSError) -> str:
    return error.strerror or str(error)
