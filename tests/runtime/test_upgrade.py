"""A run that an earlier version began goes on, or is refused in one line that says how.

tests/data/stored_runs/ pins the format (made by tests/data/make_stored_runs.py). If a change of it breaks
these tests, either read the old format too, or count the format up, and make the runs anew.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dials_async.cli import main
from dials_async.run_folder import SUMMARY, read_config
from dials_async.runtime.wiring import fingerprint_of
from dials_async.store import checkpoint
from dials_async.store.checkpoint import load_checkpoint

STORED = Path(__file__).parents[1] / "data" / "stored_runs"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stored runs, where commands look for runs."""
    folder = tmp_path / "runs"
    shutil.copytree(STORED, folder)
    monkeypatch.setenv("DIALS_RUNS", str(folder))
    return folder


def dials(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


def go_on(*words: str) -> Result:
    """Resume, even if this version computes otherwise than the one that began: here the format counts."""
    result = dials(
        "train", *words, "--resume", "--quiet", "--allow-other-numerics", "--metrics-address", "off"
    )
    assert result.exit_code == 0, result.stderr
    return result


def test_a_stopped_run_goes_on_where_it_was(runs: Path) -> None:
    loaded = load_checkpoint(runs / "stopped" / "checkpoints", fingerprint_of(read_config(runs / "stopped")))
    versions = [known.state.version for known in loaded.snapshot.groups.values()]
    assert all(2 <= version < 5 for version in versions)
    go_on("--run", "stopped")
    summary = json.loads((runs / "stopped" / SUMMARY).read_text())
    assert summary["agent_steps"] == 8000
    # What the version that began it had counted is still there
    assert summary["participants"][0]["role"] == "train"
    before = sum(json.loads(loaded.snapshot.records["sessions"][-1])["phases"].values())
    assert sum(summary["seconds"].values()) >= before > 0
    assert summary["aip_refreshes"] == 3


def test_a_finished_run_is_reported_evaluated_and_extended(runs: Path) -> None:
    stored = json.loads((runs / "finished" / SUMMARY).read_text())
    assert dials("report", "finished").exit_code == 0
    assert (runs / "finished" / "report.html").stat().st_size > 10_000
    evaluated = dials("evaluate", "finished", "--episodes", "2")
    assert evaluated.exit_code == 0, evaluated.stderr
    go_on("--run", "finished", "--steps", "9600")
    summary = json.loads((runs / "finished" / SUMMARY).read_text())
    assert (stored["agent_steps"], summary["agent_steps"]) == (8000, 9600)


def test_a_format_that_is_not_read_any_more_is_refused_in_one_line_that_says_how_to_go_on(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)  # as the next version might
    result = dials("train", "--run", "stopped", "--resume", "--quiet")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert (
        f"has format {checkpoint.FORMAT - 1}, this version of dials-async reads {checkpoint.FORMAT}" in line
    )
    assert "go on with the version that began the run (dials-async 0." in line
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before
