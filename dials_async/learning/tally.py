"""What a group has learned from, counted inside each commit: exact whatever was killed in between.

Counts are kept in the ``meta`` of the committed state, so that they and the weights cannot disagree.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.ordered import mean_of_rows
from dials_async.learning.settings import HEALTH
from dials_async.messaging.schema import Experience
from dials_async.store.base import GroupState, Meta


def count(
    before: Meta,
    version: int,
    messages: Sequence[Experience],
    newest_aip: int,
    dropped: int,
    health: NDArray[np.float64],
) -> dict[str, int | float | str]:
    """The counts after the update of ``version`` with ``messages``.

    ``dropped`` messages were too old to be used in it; ``health`` is [agents, len(HEALTH)].
    """
    lags = Counter({int(lag): n for lag, n in json.loads(str(before.get("lags", "{}"))).items()})
    lags.update(version - message.policy_version for message in messages)
    older = sum(message.aip_version < newest_aip for message in messages)
    return {
        "lags": json.dumps({str(lag): lags[lag] for lag in sorted(lags)}),
        "dropped": int(before.get("dropped", 0)) + dropped,
        "older_aips": int(before.get("older_aips", 0)) + older,
        "health": json.dumps([round(float(value), 6) for value in mean_of_rows(health)]),
    }


def read_counts(meta: Meta) -> dict[str, Any]:
    """The counts in the ``meta`` of a commit, as plain data; empty before the first update."""
    if "health" not in meta:
        return {}
    return {
        "lags": {str(lag): int(n) for lag, n in json.loads(str(meta["lags"])).items()},
        "dropped": int(meta["dropped"]),
        "learned_s": float(meta.get("learned_s", 0.0)),
        "health": dict(zip(HEALTH, map(_known, json.loads(str(meta["health"]))), strict=False)),
    }


def _known(value: float) -> float | None:
    """None for what the backend does not measure."""
    return value if math.isfinite(value) else None


def lag_counts(state: GroupState) -> dict[int, int]:
    """Messages that the group has used so far, by how many versions their policy was old."""
    return {int(lag): n for lag, n in json.loads(str(state.meta.get("lags", "{}"))).items()}


def summarise_learning(states: Sequence[GroupState]) -> Mapping[str, Any]:
    """How learning went in all groups: lag of the experience used, what was dropped, health of PPO."""
    lags: Counter[int] = Counter()
    for state in states:
        lags.update(lag_counts(state))
    used = lags.total()
    health = [json.loads(str(state.meta["health"])) for state in states if "health" in state.meta]
    means = mean_of_rows(health) if health else ()
    return {
        "messages_used": used,
        "policy_lag_messages": {str(lag): lags[lag] for lag in sorted(lags)},
        "policy_lag_mean": round(sum(lag * n for lag, n in lags.items()) / used, 4) if used else None,
        "messages_dropped": sum(int(state.meta.get("dropped", 0)) for state in states),
        "messages_under_older_aips": sum(int(state.meta.get("older_aips", 0)) for state in states),
        "last_update": {name: _known(round(float(x), 6)) for name, x in zip(HEALTH, means, strict=False)},
    }
