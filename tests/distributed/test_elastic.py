"""Workers and learners come and go while a run trains; without them everybody waits, and says so."""

import socket
from pathlib import Path
from typing import Any

import pytest

from dials_async.distributed import status
from dials_async.distributed.connection import Connection
from dials_async.distributed.create import create
from dials_async.distributed.learners import LearnerRole
from dials_async.distributed.shard import Shard
from dials_async.learning.tally import lag_counts
from tests.runtime.small import small_config

from .fleet import eventually, fleet, observer

HOST = socket.gethostname()

#: A run that goes on until the test has seen enough.
ENDLESS = ("run.steps=100000000", "schedule.refresh_steps=100000000", "schedule.eval_steps=100000000")


def versions(seen: Connection) -> list[int]:
    context = seen.context
    return [context.store.group_version(group.index) for group in context.groups]


def moves_on(seen: Connection) -> bool:
    """Every group gets some versions further."""
    before = versions(seen)
    return eventually(lambda: all(now >= then + 3 for now, then in zip(versions(seen), before, strict=True)))


def test_workers_are_added_and_removed_while_it_runs(run: str) -> None:
    create(run, small_config(*ENDLESS))
    with fleet(run) as members, observer(run) as seen:
        # Given one worker
        members.start(learner=1, gs_sampler=1, rollout=1)
        first = members.members[-1]
        assert moves_on(seen)
        # When three are added and two removed, the first among them
        added = members.start(rollout=3)
        assert moves_on(seen)
        for member in (first, added[0]):
            member.leave()
            assert member.error is None
        # Then the run goes on, and nobody has failed
        assert moves_on(seen)
        members.require_health()
        assert seen.context.broker.dead_letter_count() == 0


def test_learners_share_the_groups_and_take_over_when_one_is_gone(run: str) -> None:
    create(run, small_config(*ENDLESS, "rollout.agents_per_group=1"))  # four groups

    with fleet(run) as members, observer(run) as seen:
        first = members.start(gs_sampler=1, rollout=1, learner=1)[-1]
        assert eventually(lambda: set(owners(seen).values()) == {f"{first.name}@{HOST}"})
        second = members.start(learner=1)[-1]
        assert eventually(
            lambda: (
                sorted(map(str, owners(seen).values()))
                == sorted(2 * [f"{first.name}@{HOST}", f"{second.name}@{HOST}"])
            )
        )
        assert moves_on(seen)
        first.leave()
        assert eventually(lambda: set(owners(seen).values()) == {f"{second.name}@{HOST}"})
        assert moves_on(seen)
        members.require_health()


def test_learners_with_fixed_shares_have_those_groups_and_no_others(run: str) -> None:
    create(run, small_config(*ENDLESS, "rollout.agents_per_group=1"))  # four groups
    with fleet(run) as members, observer(run) as seen:
        members.start(gs_sampler=1, rollout=1)
        for index in (0, 1):
            shard = Shard(index, 2)
            members.add(
                "learner",
                f"learner-{index}",
                lambda link, leases, me, shard=shard: LearnerRole(link, leases, me, shard),  # type: ignore[misc]
            )
        expected = {group: f"learner-{group % 2}@{HOST}" for group in range(4)}
        assert eventually(lambda: owners(seen) == expected)
        assert moves_on(seen)


def owners(seen: Connection) -> dict[int, str | None]:
    return {group["group"]: group["learner"] for group in status.gather(seen)["groups"]}


def test_without_learners_the_queues_stay_bounded_and_all_recovers(run: str) -> None:
    create(run, small_config(*ENDLESS))
    with fleet(run) as members, observer(run) as seen:
        (learner,) = members.start(learner=1)
        members.start(gs_sampler=1, rollout=4)
        assert moves_on(seen)
        # When the only learner is gone
        learner.leave()
        context = seen.context
        queues = context.queues
        waiting = [queues.rollout_tasks, *map(queues.experience, range(4))]
        assert eventually(lambda: context.broker.depth(queues.rollout_tasks) == 0)
        most = [0] * len(waiting)
        for _ in range(50):
            depths = [context.broker.depth(queue) for queue in waiting]
            most = [max(pair) for pair in zip(most, depths, strict=True)]
        # Then what waits is at most what was asked for: one update of two tasks
        assert max(most[1:]) <= 2
        assert any("no learner for group" in reason for reason in status.gather(seen)["stuck"])
        # And a new one goes on
        members.start(learner=1)
        assert moves_on(seen)
        # It says so every second, or a little later where the machine is busy
        assert eventually(lambda: not any("no learner for" in why for why in status.gather(seen)["stuck"]))


def test_without_workers_learners_wait_and_the_status_says_so(run: str) -> None:
    create(run, small_config(*ENDLESS))
    with fleet(run) as members, observer(run) as seen:
        members.start(learner=1, gs_sampler=1)
        assert eventually(lambda: seen.context.broker.depth(seen.context.queues.rollout_tasks) == 4)
        now: dict[str, Any] = {}

        def all_collect() -> bool:
            """As of what the learner said of itself last, each second."""
            now.update(status.gather(seen))
            return all(group["doing"].startswith("collecting experience") for group in now["groups"])

        assert eventually(all_collect), now
        assert "no rollout worker: 4 tasks wait ('dials worker rollout')" in now["stuck"]
        assert "no rollout worker" in status.in_words(now)
        members.start(rollout=1)
        assert moves_on(seen)


def test_a_run_with_policy_lag_counts_the_lag_of_every_message(run: str, surroundings: Path) -> None:
    config = small_config("rollout.max_policy_lag=2", "run.steps=16000")
    create(run, config)
    with fleet(run) as members, observer(run) as seen:
        members.start_all(rollout=2)
        members.wait()
        for group in seen.context.groups:
            state = seen.context.store.latest_group(group.index)
            assert state is not None
            lags = lag_counts(state)
            assert set(lags) <= {0, 1, 2}
            assert sum(lags.values()) == 10 * 2 * group.n_agents
            assert sum(lag * n for lag, n in lags.items()) > 0
    assert (surroundings / run / "report.html").exists()


@pytest.mark.parametrize("kind", ["gs-sampler", "evaluator", "keeper"])
def test_a_second_one_stands_by_and_takes_over(kind: str, run: str) -> None:
    create(run, small_config(*ENDLESS))
    with fleet(run) as members, observer(run) as seen:
        counts = {kind.replace("-", "_"): 1}
        (first,) = members.start(**counts)
        assert eventually(lambda: kind in claims(seen))
        (second,) = members.start(**counts)
        assert eventually(lambda: "standing by" in doing(seen, second.name))
        first.leave()
        assert eventually(lambda: claims(seen).get(kind, "").startswith(second.name))
        assert eventually(lambda: "standing by" not in doing(seen, second.name))
        assert members.members[-1].error is None


def claims(seen: Connection) -> dict[str, str]:
    return dict(seen.registry.claims(seen.context.name))


def doing(seen: Connection, name: str) -> str:
    processes = seen.registry.processes(seen.context.name).values()
    return "".join(str(p.facts["doing"]) for p in processes if p.facts["name"] == name)


class Broken:
    """A role that cannot go on."""

    def run(self) -> None:
        raise ZeroDivisionError("a sick host")

    def facts(self) -> dict[str, Any]:
        return {"doing": "failing"}


@pytest.mark.parametrize(
    ("kind", "state"), [("rollout", "initialised"), ("evaluator", "initialised"), ("learner", "failed")]
)
def test_only_those_that_a_run_cannot_do_without_make_it_a_failed_one(
    run: str, kind: str, state: str
) -> None:
    create(run, small_config(*ENDLESS))
    with fleet(run) as members, observer(run) as seen:
        member = members.add(kind, f"{kind}.1", lambda *_: Broken())
        assert eventually(lambda: not member.is_alive())
        assert "a sick host" in str(member.error)
        assert seen.registry.status(run).state == state
