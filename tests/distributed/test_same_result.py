"""Invariant 3: the weights of an embedded run, to the bit, whatever processes train it and come and go."""

import json
from pathlib import Path

import pytest

from dials_async.config import Config
from dials_async.distributed.create import create, resume
from dials_async.errors import BrokerError, CheckpointError
from dials_async.run_folder import CHECKPOINTS
from dials_async.runtime.results import weights_sha256
from dials_async.store.checkpoint import load_checkpoint
from tests.runtime.small import small_config, small_traffic, train_to_the_end

from .fleet import eventually, final_sha256, fleet, observer


def embedded_sha256(folder: Path, config: Config) -> str:
    return weights_sha256(train_to_the_end(folder, config).context)


@pytest.mark.parametrize("simulator", ["dials", "untrained", "gs"])
def test_any_number_of_workers_and_learners_gives_the_weights_of_an_embedded_run(
    simulator: str, tmp_path: Path, run: str, surroundings: Path
) -> None:
    config = small_config(f"run.simulator={simulator}")
    expected = embedded_sha256(tmp_path / "embedded", config)
    for rollouts, learners in ((1, 1), (3, 2)):
        name = f"{run}-{rollouts}-{learners}"
        create(name, config)
        with fleet(name) as members:
            members.start_all(rollouts, learners)
            members.wait()
        summary = json.loads((surroundings / name / "summary.json").read_text())
        assert summary["weights_sha256"] == final_sha256(name) == expected
        assert summary["agent_steps"] == 6400
        n_messages = 4 * 2 * 4  # updates, tasks, agents
        assert summary["learning"]["messages_used"] == n_messages
        assert summary["learning"]["policy_lag_messages"] == {"0": n_messages}
        assert (surroundings / name / "report.html").exists()


@pytest.mark.parametrize("simulator", ["dials", "gs"])
def test_traffic_on_sumo_gives_the_weights_of_an_embedded_run_too(
    simulator: str, tmp_path: Path, run: str, surroundings: Path
) -> None:
    config = small_traffic(f"run.simulator={simulator}")
    expected = embedded_sha256(tmp_path / "embedded", config)
    create(run, config)
    with fleet(run) as members:
        members.start_all(3, 2)
        members.wait()
    assert final_sha256(run) == expected
    assert (surroundings / run / "report.html").exists()


def test_processes_that_come_and_go_change_nothing(tmp_path: Path, run: str) -> None:
    # Given a run of ten updates
    config = small_config("run.steps=16000", "schedule.refresh_steps=4800")
    expected = embedded_sha256(tmp_path / "embedded", config)
    create(run, config)
    with fleet(run) as members, observer(run) as seen:

        def version(group: int) -> int:
            return seen.context.store.group_version(group)

        # When its learner and its only worker leave in the middle, and everything else too, one by one
        members.start_all()
        for leaving, at in (
            ("learner", 2),
            ("rollout", 4),
            ("gs-sampler", 5),
            ("evaluator", 6),
            ("keeper", 7),
        ):
            assert eventually(lambda at=at: min(version(0), version(1)) >= at)  # type: ignore[misc]
            for member in [member for member in members.members if member.kind == leaving]:
                member.leave()
                assert member.error is None
            # Then others take their place
            members.start(**{leaving.replace("-", "_"): 1})
        members.wait()
    assert final_sha256(run) == expected


def saved_version(folder: Path, config: Config) -> int:
    """Version of the first group in the newest checkpoint; -1 if there is none."""
    try:
        snapshot = load_checkpoint(folder / CHECKPOINTS, config.fingerprint()).snapshot
    except CheckpointError:
        return -1
    return snapshot.groups[0].state.version


def test_a_run_whose_redis_lost_everything_goes_on_from_its_checkpoint(
    tmp_path: Path, run: str, surroundings: Path
) -> None:
    config = small_config("run.steps=32000", "schedule.refresh_steps=4800", "runtime.checkpoint_seconds=0.2")
    expected = embedded_sha256(tmp_path / "embedded", config)
    create(run, config)
    # Given a run that has saved a checkpoint
    with fleet(run) as members, observer(run) as seen:
        members.start_all()
        assert eventually(lambda: saved_version(surroundings / run, config) > 0)
        before = seen.context.queues
        # When Redis loses everything while all are at work
        seen.registry.delete(run)
        # Then each process says so and ends
        assert eventually(lambda: not any(member.is_alive() for member in members.members))
        for member in members.members:
            assert member.error is not None
            assert "has lost the run" in str(member.error), member.error
    # And a resumed run ends as if nothing had happened
    notes = resume(run, None, None)
    assert any("from the checkpoint of" in note for note in notes)
    with fleet(run) as members, observer(run) as seen:
        # It is another life, with queues of its own; those of the one before are gone
        assert seen.context.queues.life != before.life
        for queue in (before.rollout_tasks, before.experience(0)):
            with pytest.raises(BrokerError, match="never declared"):
                seen.context.broker.depth(queue)
        assert seen.context.store.group_version(0) > 0
        members.start_all()
        members.wait()
    assert final_sha256(run) == expected
