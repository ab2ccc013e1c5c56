"""A distributed run that failed before its version 0 frees its name; one that has begun keeps it."""

from pathlib import Path
from typing import Any

import pytest

from dials_async.distributed import create as creating
from dials_async.distributed.create import create, exists
from dials_async.errors import DomainError, RunExistsError
from dials_async.run_folder import create_run
from dials_async.store.redis.runs import FAILED
from tests.rollout.contexts import commit_policies
from tests.runtime.small import small_config

from .fleet import observer


def test_one_that_failed_while_it_was_made_is_not_there(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise DomainError("a mistake")

    with monkeypatch.context() as patch:
        patch.setattr(creating, "join_run", fail)
        with pytest.raises(DomainError, match="a mistake"):
            create(run, small_config())
    assert not exists(run)
    create(run, small_config())
    assert exists(run)


def test_one_whose_process_failed_at_its_start_is_replaced(run: str, surroundings: Path) -> None:
    # Given a run that a learner called failed, with its keeper's folder and a task in a queue
    config = small_config()
    create(run, config)
    with observer(run) as link:
        life, tasks = link.context.store.life, link.context.queues.rollout_tasks
        link.context.broker.publish(tasks, b"left over")
        link.registry.set_status(run, FAILED, "learner.1: failed")
    folder = create_run(run, config)
    (folder / "live.json").write_text("{}", encoding="utf-8")
    # When another one takes its name
    create(run, small_config("run.seed=2"))
    # Then nothing of the first is left
    with observer(run) as link:
        assert link.context.config.run.seed == 2
        assert link.context.store.life != life
        link.context.broker.declare(tasks, 16)
        assert link.context.broker.depth(tasks) == 0
        link.context.broker.delete(tasks)
    assert not (surroundings / run).exists()


def test_one_that_had_begun_keeps_its_name(run: str) -> None:
    create(run, small_config())
    with observer(run) as link:
        commit_policies(link.context, version=0)
        link.registry.set_status(run, FAILED, "learner.1: failed")
    with pytest.raises(RunExistsError, match="exists in Redis"):
        create(run, small_config())


def test_a_folder_of_another_run_is_left_alone(run: str, surroundings: Path) -> None:
    create(run, small_config())
    with observer(run) as link:
        link.registry.set_status(run, FAILED, "learner.1: failed")
    create_run(run, small_config("run.seed=7"))
    with pytest.raises(RunExistsError, match="exists: choose another --run"):
        create(run, small_config())
    assert (surroundings / run / "config.toml").exists()
