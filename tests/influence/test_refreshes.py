"""The gs-sampler in a short run: as many refreshes as F says, none for the simulator "untrained"."""

from pathlib import Path

import numpy as np
import pytest

from dials_async.influence.refresher import Refresher
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.run_state import run_state
from dials_async.store.base import GroupState
from tests.rollout.contexts import (
    commit_aips,
    commit_policies,
    eventually,
    make_context,
    running,
    small_config,
)


def finished(folder: Path, *settings: str) -> EmbeddedRun:
    run = EmbeddedRun("r", small_config(*settings), folder, resume=False)
    run.start()
    assert run.wait(lambda: None)
    return run


@pytest.mark.parametrize(("refresh_steps", "refreshes"), [(3200, 1), (1600, 2), (800, 4), (10_000, 1)])
def test_a_run_makes_as_many_refreshes_as_f_says(
    whole_runs: None, tmp_path: Path, refresh_steps: int, refreshes: int
) -> None:
    run = finished(tmp_path, f"schedule.refresh_steps={refresh_steps}")
    records = run.context.store.records("refreshes")
    assert [record["aip_version"] for record in records] == list(range(1, refreshes + 1))
    assert [record["steps"] for record in records] == [refresh_steps * k for k in range(refreshes)]
    assert run.context.store.aip_version() == refreshes


def test_a_refresh_makes_the_aips_better_on_held_out_episodes(whole_runs: None, tmp_path: Path) -> None:
    run = finished(tmp_path, "aip.epochs=10")
    (record,) = run.context.store.records("refreshes")
    assert record["ce_before"] > 1.2  # nearly ln 4 = 1.386
    assert record["ce_after"] < 0.7 * record["ce_before"]


def test_untrained_aips_are_used_and_never_trained(whole_runs: None, tmp_path: Path) -> None:
    run = finished(tmp_path, "run.simulator=untrained", "schedule.refresh_steps=800")
    store, (group,) = run.context.store, run.context.groups
    assert store.records("refreshes") == []
    assert store.aip_version() == 0
    assert np.array_equal(store.aip(0).arrays["g0"], group.initial_aips(run.context.seed))
    assert {record["aip_version"] for record in store.records("evaluations")} == {0}
    assert run.context.phases.seconds()["aip"] == run.context.phases.seconds()["collect"] == 0


def test_training_on_the_gs_needs_no_aips(whole_runs: None, tmp_path: Path) -> None:
    run = finished(tmp_path, "run.simulator=gs")
    assert run.context.store.records("refreshes") == []
    assert all(record["influence_ce_mean"] is None for record in run.context.store.records("evaluations"))
    state = run.context.store.latest_group(0)
    assert state is not None
    assert state.version == 4


def test_steps_since_a_refresh_are_those_of_the_slowest_group_however_far_ahead_another_is() -> None:
    context = make_context(
        "rollout.agents_per_group=2", "rollout.max_policy_lag=2", "schedule.refresh_steps=1600"
    )

    def commit(group: int, version: int) -> None:
        weights = context.groups[group].initial_weights(context.seed)
        arrays = {"weights": weights, "adam_m": weights, "adam_v": weights}
        steps = context.clock.steps(version)
        context.store.commit_group(GroupState(group, version, steps, arrays, {"adam_steps": 0}))

    commit_policies(context, 0)
    for version in (1, 2, 3):
        commit(0, version)
    with running(context, Refresher(context, threads=1).run):
        assert eventually(lambda: context.store.aip_version() == 1)
        assert run_state(context, {})["steps_since_refresh"] == 0
        commit(1, 1)
        assert run_state(context, {})["steps_since_refresh"] == context.clock.steps_per_update


def test_at_lag_above_0_a_later_refresh_replaces_those_that_have_not_begun() -> None:
    # Given a sampler that comes when its run is at update 3 of 4, with a refresh due before each update
    context = make_context("rollout.max_policy_lag=2", "schedule.refresh_steps=800", "aip.gs_steps=200")
    for version in range(4):
        commit_policies(context, version)
    assert context.clock.n_refreshes == 4
    Refresher(context, threads=1).run()
    # Then it makes one, of the newest policies, which is the last one, too
    (record,) = context.store.records("refreshes")
    assert (record["aip_version"], record["steps"]) == (1, 2400)
    assert context.store.aip_version() == 1
    # And one that is started again has nothing left to do
    Refresher(context, threads=1).run()
    assert len(context.store.records("refreshes")) == 1


def test_a_sampler_that_was_overtaken_while_it_waited_makes_no_refresh_of_what_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a sampler that waits for version 0, for its first refresh
    context = make_context("schedule.refresh_steps=1600", "aip.gs_steps=200")
    commit_policies(context, 0)
    wait_for = Refresher._wait_for_versions

    def overtaken(sampler: Refresher, version: int) -> list[int] | None:
        if context.store.aip_version() == 0:
            commit_aips(context, 1)  # by another one
        else:
            context.stop.set()  # it waits for version 2 now
        return [version] if version == 0 else wait_for(sampler, version)

    monkeypatch.setattr(Refresher, "_wait_for_versions", overtaken)
    Refresher(context, threads=1).run()
    assert context.store.aip_version() == 1


def test_what_is_left_to_refresh_counts_none_that_were_replaced() -> None:
    context = make_context("rollout.max_policy_lag=2", "schedule.refresh_steps=800", "aip.gs_steps=200")
    for version in range(2):
        commit_policies(context, version)
    assert run_state(context, {})["aip_refreshes"] == 3  # version -1 of the AIPs, and four to come
    with running(context, Refresher(context, threads=1).run):
        assert eventually(lambda: context.store.aip_version() == 1)
        # One of the two that were due replaced the other; two are still to come
        assert run_state(context, {})["aip_refreshes"] == 1 + 2
