"""A run that an earlier version stored on disk goes on in a fleet of this one."""

import shutil
from pathlib import Path

from click.testing import CliRunner

from dials_async.cli import main

from .fleet import fleet, observer

STORED = Path(__file__).parents[1] / "data" / "stored_runs"


def test_a_stopped_run_goes_on_in_many_processes(run: str, surroundings: Path) -> None:
    shutil.copytree(STORED / "stopped", surroundings / run)
    words = ["init", "--run", run, "--resume", "--allow-other-numerics"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "going on from the checkpoint of" in result.stderr
    with fleet(run) as members, observer(run) as seen:
        assert all(seen.context.store.group_version(group.index) >= 2 for group in seen.context.groups)
        members.start_all()
        members.wait()
    assert (surroundings / run / "report.html").exists()
