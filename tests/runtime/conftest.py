"""Runs are written below pytest's own folders, never into the repository."""

from pathlib import Path

import pytest

from dials_async.runtime import training
from dials_async.runtime.embedded import EmbeddedRun
from tests.runtime.small import small_config, train_to_the_end


@pytest.fixture(autouse=True)
def runs_folder(whole_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runs folder for each test."""
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def finished(whole_runs: None, tmp_path_factory: pytest.TempPathFactory) -> training.Outcome:
    """A finished small run with all its files; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIALS_RUNS", str(tmp_path_factory.mktemp("finished")))
        return training.train("finished", small_config(), "dials train ...", watching=training.QUIETLY)


@pytest.fixture(scope="session")
def reference(whole_runs: None, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedRun:
    """An undisturbed run of ``small_config()``."""
    return train_to_the_end(tmp_path_factory.mktemp("reference"), small_config())
