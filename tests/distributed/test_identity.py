"""Experience belongs to one life of a run, one configuration, one arithmetic: nothing else gets in unsaid."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import dials_async
from dials_async.distributed import status
from dials_async.distributed.create import create, forget, resume
from dials_async.distributed.daemon import Daemon
from dials_async.errors import NumericsError, StoreError
from dials_async.messaging.memory import MemoryBroker
from dials_async.run_context import RunContext
from dials_async.run_folder import CONFIG, SUMMARY, create_run
from dials_async.runtime import numerics, training
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.results import weights_sha256
from dials_async.runtime.wiring import is_complete, keep_rules, make_context
from dials_async.servers.private import PrivateServer
from dials_async.store.memory import MemoryStore
from tests.runtime.small import small_config, train_to_the_end

from .fleet import Member, eventually, final_sha256, fleet, observer

OTHERS = "0123456789abcdef"


def as_elsewhere(monkeypatch: pytest.MonkeyPatch, *parts: str) -> None:
    """From now on this process computes ``parts`` as no other does."""
    here = numerics.numerics

    def elsewhere(context: RunContext, wanted: Iterable[str]) -> dict[str, str]:
        return {part: OTHERS if part in parts else found for part, found in here(context, wanted).items()}

    monkeypatch.setattr(numerics, "numerics", elsewhere)


def test_two_runs_of_one_name_in_two_databases_share_a_vhost(
    tmp_path: Path, run: str, redis_server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [small_config(f"run.seed={seed}") for seed in (1, 2)]
    expected = [
        weights_sha256(train_to_the_end(tmp_path / f"{config.run.seed}", config).context)
        for config in configs
    ]
    with ExitStack() as stack:
        fleets, seen = [], []
        for database, config in enumerate(configs):
            monkeypatch.setenv("DIALS_REDIS_URL", f"{redis_server.url.removesuffix('/0')}/{database}")
            create(run, config)
            seen.append(stack.enter_context(observer(run)).context)
            fleets.append(stack.enter_context(fleet(run)))
            fleets[-1].start(learner=1, rollout=2, gs_sampler=1, evaluator=1)
        assert eventually(lambda: all(is_complete(context) for context in seen))
        assert [weights_sha256(context) for context in seen] == expected
        assert [context.broker.dead_letter_count() for context in seen] == [0, 0]
    forget(run)  # in the second database; the first one's goes with the server


def test_a_worker_left_over_from_a_forgotten_run_leaves_the_next_one_alone(tmp_path: Path, run: str) -> None:
    config = small_config("run.seed=2")
    expected = weights_sha256(train_to_the_end(tmp_path / "embedded", config).context)
    create(run, small_config("run.seed=1"))
    left_over = Member("rollout", "rollout.0", run)
    forget(run)
    create(run, config)
    with fleet(run) as members:
        members.start_all()
        assert eventually(lambda: not left_over.is_alive())
        assert isinstance(left_over.error, StoreError)
        assert "was made anew" in str(left_over.error) or "has lost the run" in str(left_over.error)
        members.wait()
    assert final_sha256(run) == expected


def test_a_process_that_computes_otherwise_is_refused_and_the_status_names_it(
    tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config()
    expected = weights_sha256(train_to_the_end(tmp_path / "embedded", config).context)
    create(run, config)
    with monkeypatch.context() as elsewhere:
        as_elsewhere(elsewhere, "rollout")
        with pytest.raises(
            NumericsError, match=f"rollout {OTHERS}, not [0-9a-f]{{16}}.*allow-other-numerics"
        ) as refused:
            Member("rollout", "rollout.9", run)
        assert refused.value.exit_code == 2
        for kind in ("learner", "gs-sampler", "evaluator", "keeper"):  # that part is not theirs
            with observer(run) as seen:
                Daemon(seen, kind, "x").join(allow_other_numerics=False)
    with fleet(run) as members, observer(run) as seen:
        members.start(learner=1, rollout=1)
        assert any("refused rollout.9 on" in why and OTHERS in why for why in status.gather(seen)["stuck"])
        members.start(gs_sampler=1, evaluator=1, keeper=1)
        members.wait()
    assert final_sha256(run) == expected


@pytest.mark.parametrize(
    ("kind", "part"),
    [("learner", "update"), ("gs-sampler", "aip"), ("gs-sampler", "gs"), ("evaluator", "gs")],
)
def test_each_role_answers_for_its_parts(
    run: str, kind: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, small_config())
    as_elsewhere(monkeypatch, part)
    with pytest.raises(NumericsError, match=f"{part} {OTHERS}"):
        Member(kind, f"{kind}.1", run)


def test_where_it_is_allowed_the_run_says_that_it_is_not_reproducible(
    run: str, surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, small_config())
    with fleet(run) as members, observer(run) as seen:
        with monkeypatch.context() as elsewhere:
            as_elsewhere(elsewhere, "rollout")
            members.members.append(Member("rollout", "rollout.9", run, None, True))
        assert any("not reproducible: rollout on" in why for why in status.gather(seen)["stuck"])
        members.start(learner=1, gs_sampler=1, evaluator=1, keeper=1)
        members.wait()
        assert seen.context.broker.dead_letter_count() == 0
    summary: dict[str, Any] = json.loads((surroundings / run / SUMMARY).read_text())
    assert summary["not_reproducible"].startswith("not reproducible: rollout on")
    took_part = {(row["role"], row["part"], row["same"]) for row in summary["participants"]}
    assert ("rollout", "rollout", False) in took_part
    assert {("init", part, True) for part in numerics.PARTS} <= took_part
    assert "This run is not reproducible" in (surroundings / run / "report.html").read_text()


def test_a_resume_on_a_machine_that_computes_otherwise_is_refused(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an embedded run that was stopped
    config = small_config("run.steps=16000")
    folder = create_run(run, config)
    assert train_partly(folder, config)
    before = (folder / CONFIG).read_text()
    # When it goes on elsewhere
    as_elsewhere(monkeypatch, "update")
    with pytest.raises(NumericsError, match=f"update {OTHERS}"):
        training.resume(folder, None, None, "test")
    with pytest.raises(NumericsError, match=f"update {OTHERS}"):
        resume(run, None, None)
    # And nothing of it has changed
    assert (folder / CONFIG).read_text() == before
    # Then only if that is wanted, and it says so
    outcome = training.resume(folder, None, None, "test", allow_other_numerics=True)
    assert outcome.summary is not None
    assert "train on" in outcome.summary["not_reproducible"]


def test_an_extension_that_is_refused_leaves_a_finished_run_finished(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = training.train(run, small_config(), "test").folder
    before = (folder / CONFIG).read_text()
    with monkeypatch.context() as elsewhere:
        as_elsewhere(elsewhere, "rollout")
        with pytest.raises(NumericsError, match=f"rollout {OTHERS}"):
            training.resume(folder, 9600, None, "test")
    assert (folder / CONFIG).read_text() == before
    outcome = training.resume(folder, 8000, None, "test")
    assert outcome.summary is not None
    assert outcome.summary["agent_steps"] == 8000


def test_what_was_allowed_once_is_allowed_again(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create(run, small_config())
    as_elsewhere(monkeypatch, "update")
    with pytest.raises(NumericsError):
        Member("learner", "learner.1", run)
    for allow in (True, False):
        with observer(run) as seen:
            Daemon(seen, "learner", "learner.1").join(allow)
            assert "learner on" in seen.context.participants.not_reproducible()


def test_who_only_learns_answers_for_no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    context = make_context("r", config, MemoryBroker(), MemoryStore(keep_rules(config)))
    here = numerics.numerics(context, numerics.PARTS)
    monkeypatch.setattr(numerics, "IalsRollout", None)
    monkeypatch.setattr(numerics, "run_joint", None)
    assert numerics.numerics(context, ("update", "aip")) == {part: here[part] for part in ("update", "aip")}


def train_partly(folder: Path, config: Any) -> bool:
    """A first session, in which who computes what is entered. Whether it was stopped before its end."""
    run = EmbeddedRun(folder.name, config, folder, resume=False)
    numerics.join_run(run.context, "train", numerics.PARTS, False)
    run.start()
    assert eventually(lambda: run.context.store.group_version(0) >= 3)
    run.context.stop.set()
    return not run.wait(lambda: None)


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        ("domains/warehouse/rules.py", "    return reward\n", "    return 0.5 * reward\n"),
        # Another order of the same operations: the last bit of some tanh
        (
            "kernels/functions.py",
            "fdiv(builder.fmul(x, above), below)",
            "fmul(x, builder.fdiv(above, below))",
        ),
    ],
    ids=["a reward", "a kernel"],
)
def test_a_copy_of_the_package_with_one_edit_is_refused(
    tmp_path: Path, run: str, module: str, before: str, after: str
) -> None:
    # Where nothing is compiled that a copy would not compute
    create(run, small_config("run.simulator=untrained", "ppo.backend=torch"))
    copy = tmp_path / "elsewhere" / "dials_async"
    shutil.copytree(Path(dials_async.__file__).parent, copy)
    text = (copy / module).read_text()
    assert before in text
    (copy / module).write_text(text.replace(before, after))
    done = subprocess.run(
        [sys.executable, "-m", "dials_async", "worker", "rollout", "--run", run, "--name", "stranger"],
        cwd=copy.parent,
        env={**os.environ, "PYTHONPATH": str(copy.parent), "DIALS_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "this process computes otherwise than the run (rollout" in last
    assert "code " in last
    with observer(run) as seen:
        assert any("refused stranger on" in why for why in status.gather(seen)["stuck"])
        assert {row["role"] for row in seen.context.participants.all()} == {"init"}
