"""A keeper whose disk is full waits for it: it is started again, and never ends what supervises the run."""

import resource
import subprocess
import sys
from pathlib import Path

from dials_async.distributed.create import create
from dials_async.run_folder import CONFIG, SUMMARY
from tests.runtime.small import small_config

from .fleet import LONG_S, eventually, fleet, observer

#: No file of this process grows: as on a full disk, and only for it.
FULL = ("sh", "-c", 'ulimit -S -f 0; exec "$@"', "sh")


def test_a_keeper_that_starts_again_while_the_disk_is_full(run: str, surroundings: Path) -> None:
    create(run, small_config("runtime.checkpoint_seconds=0.5"))
    folder = surroundings / run
    with fleet(run) as members, observer(run) as seen:
        # Given a run whose folder is there, and that has versions to save
        (first,) = members.start(keeper=1)
        members.start(gs_sampler=1)
        assert eventually((folder / CONFIG).exists)
        assert eventually(lambda: seen.context.store.aip_version() >= 0)
        first.leave()
        # When its keeper is started again, and the disk is full
        with subprocess.Popen(
            [*FULL, sys.executable, "-m", "dials_async", "worker", "keeper", "--run", run],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as keeper:
            assert keeper.stderr is not None
            # Then it says so, and goes on
            said = []
            for line in keeper.stderr:
                said.append(line)
                if "training goes on, and this is tried again" in line:
                    break
            assert keeper.poll() is None, said
            # And when there is space again, it finishes the run
            hard = resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (hard, hard))
            members.start(learner=1, rollout=1, evaluator=1)
            members.wait()
            said += keeper.communicate(timeout=LONG_S)[1].splitlines(keepends=True)
            assert keeper.returncode == 0, said
    assert (folder / SUMMARY).exists()
    assert "Traceback" not in "".join(said)
