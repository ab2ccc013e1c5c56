"""However late sampler and evaluator are, the versions that a run keeps are bounded by a constant."""

import random
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from dials_async.evaluation.evaluator import Evaluator
from dials_async.influence.refresher import Refresher
from dials_async.runtime import embedded
from dials_async.store.base import GroupState
from dials_async.store.memory import MemoryStore

from .small import session, small_config

#: 4 newest, 3 that wait for the evaluator, one that is refreshed.
MOST = 8

#: 40 updates, a refresh every 3.5 and an evaluation every 2.5 of them.
MANY = (
    "run.steps=32000",
    "rollout.episodes_per_task=4",
    "schedule.refresh_steps=2800",
    "schedule.eval_steps=2000",
    "aip.gs_steps=200",
    "rollout.agents_per_group=2",
)


class CountingStore(MemoryStore):
    """Remembers how many versions of a group it ever kept."""

    most = 0

    def commit_group(self, state: GroupState, hold: Collection[str] = ()) -> None:
        super().commit_group(state, hold)
        known = self.snapshot().groups[state.group]
        CountingStore.most = max(CountingStore.most, 1 + len(known.weights))


@pytest.mark.parametrize("slow", ["sampler", "evaluator", "both", "neither"])
@pytest.mark.parametrize(
    "settings",
    [
        ("run.simulator=dials",),
        ("run.simulator=untrained",),
        ("run.simulator=gs",),
        ("run.simulator=dials", "rollout.max_policy_lag=2"),
    ],
    ids=["dials", "untrained", "gs", "lag 2"],
)
def test_the_kept_versions_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], slow: str
) -> None:
    # Given parts that take their time, now this one, now that one
    rng = random.Random(f"{settings} {slow}")

    def late(kind: type, name: str, wait_s: float) -> None:
        original: Any = getattr(kind, name)

        def wrapped(self: Any, *arguments: Any) -> Any:
            time.sleep(rng.random() * wait_s)
            return original(self, *arguments)

        monkeypatch.setattr(kind, name, wrapped)

    if slow in ("evaluator", "both"):
        late(Evaluator, "_evaluate", 0.2)
    if slow in ("sampler", "both"):
        late(Refresher, "_refresh", 0.4)
    monkeypatch.setattr(CountingStore, "most", 0)
    monkeypatch.setattr(embedded, "MemoryStore", CountingStore)
    # When a run is trained to its end
    run, complete = session(tmp_path / "run", small_config(*MANY, *settings))
    assert complete
    # Then no group ever kept more, and at its end only the newest
    assert 4 <= CountingStore.most <= MOST
    snapshot = run.context.store.snapshot()
    assert {len(known.weights) for known in snapshot.groups.values()} == {3}
    assert all(not known.holds for known in snapshot.groups.values())
    # And every evaluation was made
    evaluated = {record["version"] for record in run.context.store.records("evaluations")}
    assert evaluated == set(run.context.clock.evaluations())
