"""``dials train``: what it prints, and how it refuses."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dials_async.rollout.worker import RolloutWorker
from tests.cli.conftest import Dials
from tests.runtime.small import SMALL, as_options

NOBODY = 65534  # a user that owns nothing

OPTIONS = ["--quiet", *as_options(SMALL)]


def listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_training_prints_a_summary_and_where_the_report_is(dials: Dials, runs_folder: Path) -> None:
    result = dials("train", "warehouse-4", "--run", "demo", "--workers", "1", *OPTIONS)
    assert result.exit_code == 0
    assert "4 agents learned for 6,400 steps each" in result.stdout
    assert "<- this run" in result.stdout
    assert "Published (Suau et al. 2022, after 4 M steps, without item ages): DIALS 13.28" in result.stdout
    assert str(runs_folder / "demo" / "report.html") in result.stdout
    assert result.stderr == ""


def test_a_dashboard_on_a_taken_port_is_refused_and_its_option_is_named(dials: Dials) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = dials("train", "warehouse-4", "--dashboard", f"127.0.0.1:{port}", *OPTIONS)
    assert result.exit_code == 2
    assert result.stderr == (
        f"dials: the dashboard cannot listen on 127.0.0.1:{port}: address already in use; "
        "choose another with --dashboard, or a free port with --dashboard :0\n"
    )


@pytest.mark.parametrize(("host", "warnings"), [("0.0.0.0", 1), ("127.0.0.1", 0)])
def test_a_dashboard_that_others_can_reach_is_warned_of(
    host: str, warnings: int, dials: Dials, runs_folder: Path
) -> None:
    result = dials("train", "warehouse-4", "--dashboard", f"{host}:0", "--steps", "3200", *OPTIONS)
    assert result.exit_code == 0
    *before, address = result.stderr.splitlines()
    assert address.startswith("dashboard: http://")
    assert (
        before == ["dials: warning: there is no password, whoever reaches this address can look"] * warnings
    )


def test_training_prints_json_that_equals_the_summary(dials: Dials, runs_folder: Path) -> None:
    arguments = ("--seed", "5", "--steps", "3200", "--simulator", "untrained", "--json", *OPTIONS[:1])
    settings = [option for option in SMALL if not option.startswith("run.")]
    result = dials("train", "warehouse-4", "--run", "demo", *arguments, *as_options(settings))
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary == json.loads((runs_folder / "demo" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["seed"], summary["agent_steps"], summary["simulator"]) == (5, 3200, "untrained")


def test_the_configuration_of_a_run_repeats_it(dials: Dials, runs_folder: Path) -> None:
    first = dials("train", "warehouse-4", "--run", "first", "--seed", "7", "--json", *OPTIONS)
    config = str(runs_folder / "first" / "config.toml")
    again = dials("train", config, "--run", "first-again", "--quiet", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["weights_sha256"] == json.loads(first.stdout)["weights_sha256"]


def test_a_run_without_a_name_gets_one(dials: Dials, runs_folder: Path) -> None:
    assert dials("train", "warehouse-4", *OPTIONS).exit_code == 0
    names = [path.name for path in runs_folder.iterdir() if not path.name.startswith(".")]
    assert len(names) == 1
    assert names[0].startswith("warehouse-4-dials-s1-")


REFUSED = [
    pytest.param(["warehouse-5"], "unknown preset 'warehouse-5': did you mean 'warehouse-", id="preset"),
    pytest.param(["none.toml"], "cannot read the preset file none.toml", id="preset-file"),
    pytest.param([], "say what to train, for example 'dials train warehouse-4'", id="no-preset"),
    pytest.param(["warehouse-4", "--set", "ppo.clap=1"], "did you mean 'clip'?", id="key"),
    pytest.param(["warehouse-4", "--set", "ppo.clip=x"], "must be of type float", id="value"),
    pytest.param(["warehouse-4", "--set", "domain.side=99"], "domain.side = 99", id="domain"),
    pytest.param(["warehouse-4", "--steps", "99"], "one episode has 100 steps", id="less-than-an-episode"),
    pytest.param(["warehouse-4", "--steps", "100"], "one update takes 12800 steps", id="less-than-an-update"),
    pytest.param(
        ["warehouse-4", "--simulator", "gs", "--set", "rollout.max_policy_lag=1"],
        "max_policy_lag must be 0",
        id="gs-lag",
    ),
    pytest.param(["warehouse-4", "--run", "taken"], "a run 'taken' exists", id="taken"),
    pytest.param(["warehouse-4", "--run", "../out"], "'../out' is no name for a run", id="name"),
    pytest.param(["warehouse-4", "--run", ""], "'' is no name for a run", id="empty-name"),
    pytest.param(["warehouse-4", "--run", "a" * 101], "is no name for a run", id="long-name"),
    pytest.param(["warehouse-4", "--run", "-x"], "'-x' is no name for a run", id="option-like-name"),
    pytest.param(["--resume"], "--resume needs the run to go on with: --run NAME", id="resume-what"),
    pytest.param(["--resume", "--run", "none"], "no run 'none' in", id="resume-none"),
    pytest.param(
        ["warehouse-4", "--resume", "--run", "taken"],
        "--resume goes on with the run's own",
        id="resume-preset",
    ),
    pytest.param(
        ["--resume", "--run", "taken", "--set", "ppo.clip=0.1"], "--resume goes on with", id="resume-set"
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line_and_nothing_is_written(
    arguments: list[str], message: str, dials: Dials, runs_folder: Path
) -> None:
    (runs_folder / "taken").mkdir(parents=True)
    before = listing(runs_folder.parent)
    result = dials("train", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("dials: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert listing(runs_folder.parent) == before


def as_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dials_async", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def test_a_process_reports_an_error_in_one_line_without_a_traceback(runs_folder: Path) -> None:
    done = as_process("train", "warehouse-4", "--set", "ppo.clap=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dials: unknown key 'ppo.clap': did you mean 'clip'?\n"
    assert not runs_folder.exists()


def test_runs_that_cannot_be_written_because_a_file_is_in_the_way_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept", encoding="utf-8")
    done = as_process("train", "warehouse-4", "--run", "demo", *OPTIONS, DIALS_RUNS=str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"dials: cannot make the folder {file}: File exists\n"
    assert file.read_text(encoding="utf-8") == "kept"


def test_runs_in_a_place_that_refuses_new_folders_are_refused(
    dials: Dials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALS_RUNS", "/proc/dials-runs")
    result = dials("train", "warehouse-4", "--run", "demo", *OPTIONS)
    assert result.exit_code == 2
    assert result.stderr.startswith("dials: cannot make the folder /proc/dials-runs: ")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def read_only_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runs folder that the user of the test may not write to; root becomes nobody for that long."""
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        folder = Path(place) / "runs"
        folder.mkdir()
        folder.chmod(0o555)
        Path(place).chmod(0o755)
        monkeypatch.setenv("DIALS_RUNS", str(folder))
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            if user == 0:
                os.seteuid(user)


def test_a_read_only_runs_folder_is_refused(dials: Dials, read_only_runs: Path) -> None:
    result = dials("train", "warehouse-4", "--run", "demo", *OPTIONS)
    assert result.exit_code == 2
    assert result.stderr == f"dials: cannot write to {read_only_runs}: Permission denied\n"


def test_a_failing_thread_is_one_line_and_exit_code_1(
    dials: Dials, monkeypatch: pytest.MonkeyPatch, runs_folder: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(RolloutWorker, "_simulate", fail)
    result = dials("train", "warehouse-4", "--run", "demo", "--workers", "1", *OPTIONS)
    assert result.exit_code == 1
    assert result.stderr == "dials: worker-0 failed: ZeroDivisionError: boom\n"


def test_a_finished_run_is_not_resumed_but_extended(dials: Dials, runs_folder: Path) -> None:
    assert dials("train", "warehouse-4", "--run", "demo", *OPTIONS).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in runs_folder.rglob("*")}
    refused = dials("train", "--run", "demo", "--resume", "--quiet")
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "to extend it, ask for more with --steps" in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in runs_folder.rglob("*")} == before
    extended = dials("train", "--run", "demo", "--resume", "--quiet", "--steps", "8000")
    assert extended.exit_code == 0
    assert "the learning rate stays at its final value" in extended.stderr
    assert "4 agents learned for 8,000 steps each" in extended.stdout


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_in_one_line(
    dials: Dials, runs_folder: Path
) -> None:
    assert dials("train", "warehouse-4", "--run", "demo", *OPTIONS).exit_code == 0
    for path in (runs_folder / "demo" / "checkpoints").iterdir():
        path.write_bytes(b"not a checkpoint")
    for arguments in (("train", "--run", "demo", "--resume", "--steps", "8000"), ("evaluate", "demo")):
        result = dials(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("dials: no good checkpoint: ")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--steps", "0"], ["--workers", "0"], ["--workers", "257"], ["--seed", "-1"], ["--simulator", "sumo"]],
)
def test_options_out_of_range_are_refused_before_anything_is_written(
    arguments: list[str], dials: Dials, runs_folder: Path
) -> None:
    result = dials("train", "warehouse-4", *arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr
    assert not runs_folder.exists()


def test_torch_that_is_missing_is_said_before_anything_is_written(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['torch'] = None; from dials_async.cli import main; main()"
    command = ["train", "warehouse-4", "--set", "ppo.backend=torch", "--run", "demo"]
    done = subprocess.run(
        [sys.executable, "-c", blocked, *command], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "dials: ppo.backend = 'torch' needs torch, which is not installed: pip install 'dials-async[torch]'\n"
    )
    assert not list(tmp_path.iterdir())


def test_to_allow_other_numerics_is_for_a_run_that_goes_on(
    dials: Dials, runs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = dials("train", "warehouse-4", "--run", "new", "--allow-other-numerics", *OPTIONS)
    assert (result.exit_code, listing(runs_folder)) == (2, [])
    assert result.stderr == "dials: --allow-other-numerics is for a run that goes on: it needs --resume\n"
    # A variable that is meant for other commands is no mistake
    monkeypatch.setenv("DIALS_ALLOW_OTHER_NUMERICS", "1")
    assert dials("train", "warehouse-4", "--run", "new", *OPTIONS).exit_code == 0
