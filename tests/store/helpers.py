"""States for the store tests: every number in a state tells its version, so that mixtures show."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from dials_async.store.base import AipState, Array, GroupState, Store, StoreSnapshot

AnyStore = TypeVar("AnyStore", bound=Store)

LONG_S = 60.0  # never reached by a test that passes
NEVER_S = 600.0  # patience, and waits, that only something else may end


def eventually(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def group_state(version: int, group: int = 0, steps: int | None = None) -> GroupState:
    value = np.float32(1000 * group + version)
    arrays = {"weights": np.full((2, 300), value), "adam_m": np.full((2, 300), value), "flag": np.array(True)}
    meta: dict[str, int | float | str] = {"updates": version, "rate": 0.1 * version, "rng": f"{version}"}
    return GroupState(group, version, 100 * version if steps is None else steps, arrays, meta)


def aip_state(version: int) -> AipState:
    arrays: dict[str, Array] = {"g0": np.full(7, version, np.float32), "g1": np.zeros((0, 3), np.int64)}
    return AipState(version, 1000 * version, arrays, {"ce_after": 0.5 - version})


def filled(store: AnyStore, versions: int = 6) -> AnyStore:
    """Two groups, AIPs and records."""
    for version in range(versions):
        store.commit_group(group_state(version, 0), ("refresh", "evaluation") if version % 3 == 0 else ())
        store.commit_group(group_state(version, 11))
        store.commit_aip(aip_state(version))
        store.append_record("evaluation", {"id": f"v{version}", "return": 0.5 * version, "note": None})
    return store


def plain(snapshot: StoreSnapshot) -> dict[str, Any]:
    """The snapshot as data that == compares, arrays with their dtype and shape."""

    def array(a: Any) -> Any:
        return a.dtype.str, a.shape, a.tobytes()

    def state(s: GroupState | AipState) -> Any:
        return s.version, s.steps_per_agent, dict(s.meta), {k: array(a) for k, a in s.arrays.items()}

    groups = {
        group: (state(known.state), {v: array(a) for v, a in known.weights.items()}, dict(known.holds))
        for group, known in snapshot.groups.items()
    }
    return {
        "groups": groups,
        "aips": [state(aip) for aip in snapshot.aips],
        "records": dict(snapshot.records),
    }
