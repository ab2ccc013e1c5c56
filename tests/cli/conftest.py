"""Every command runs in an empty folder, with its runs below it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dials_async.cli import main
from dials_async.runtime import training
from tests.runtime.small import small_config

Dials = Callable[..., Result]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def runs_folder(elsewhere: Path, whole_runs: None) -> Path:
    """Where the runs of a test are that trains."""
    return elsewhere


@pytest.fixture
def dials() -> Dials:
    """Call the command line in this process."""

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, prog_name="dials")

    return call


@pytest.fixture(scope="session")
def two_runs(whole_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with the finished runs "one" and "two"; to be read only, but for reports."""
    folder = tmp_path_factory.mktemp("two-runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIALS_RUNS", str(folder))
        training.train("one", small_config(), "dials train ...", watching=training.QUIETLY)
        training.train("two", small_config("run.simulator=gs"), "dials train ...", watching=training.QUIETLY)
    return folder
