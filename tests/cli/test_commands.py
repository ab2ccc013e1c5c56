"""The other commands: help, presets, evaluate, report, check-vectors, bench."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dials_async import __version__
from dials_async.cli import main
from dials_async.config import preset_names
from tests.cli.conftest import Dials

RECORDING = Path(__file__).parent.parent / "data" / "warehouse_2x2_seed1.json"


@pytest.mark.parametrize("command", sorted(main.commands))
def test_the_help_of_every_command_shows_an_example(command: str, dials: Dials) -> None:
    result = dials(command, "--help")
    assert result.exit_code == 0
    examples = result.stdout.partition("Example")[2]
    assert f"\n    dials {command}" in examples


def test_the_help_names_all_commands_and_where_to_start(dials: Dials) -> None:
    result = dials("--help")
    assert result.exit_code == 0
    assert "dials train warehouse-4" in result.stdout
    for command in ("train", "evaluate", "report", "presets", "check-vectors", "bench"):
        assert f"\n  {command}" in result.stdout


def test_the_version_is_that_of_the_package() -> None:
    command = [sys.executable, "-m", "dials_async", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"dials, version {__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'? (see 'dials --help')"),
        (["--bogus"], "No such option '--bogus' (see 'dials --help')"),
        (["train", "--bogus"], "No such option '--bogus' (see 'dials train --help')"),
        (["train", "--steps", "many"], "'many' is not a valid integer"),
        (["train", "--simulator", "gss"], "'gss' is not one of 'dials', 'untrained', 'gs'"),
        (["train", "warehouse-4", "more"], "unexpected extra argument (more)"),
        (["bench"], "Missing argument '{rollout|learn|aip|gs}'. Choose from: rollout, learn, aip, gs"),
        (["evaluate"], "Missing argument 'RUN' (see 'dials evaluate --help')"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line(
    arguments: list[str], message: str, dials: Dials
) -> None:
    result = dials(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.startswith("dials: ")
    assert result.stderr.count("\n") == 1


def test_dials_alone_says_where_to_start(dials: Dials) -> None:
    assert "dials train warehouse-4" in dials().output


def test_presets_are_listed_for_people_and_for_programs(dials: Dials) -> None:
    rows = json.loads(dials("presets", "--json").stdout)
    assert [row["preset"] for row in rows] == preset_names()
    agents = {row["preset"]: row["agents"] for row in rows}
    assert (agents["warehouse-4"], agents["warehouse-100"]) == (4, 100)
    assert all(row["steps"] > 0 for row in rows)
    lines = dials("presets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["preset", *preset_names()]


# --- evaluate ---------------------------------------------------------------------------------------------


@pytest.fixture
def in_two_runs(two_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIALS_RUNS", str(two_runs))
    return two_runs


@pytest.mark.parametrize(("run", "has_ce"), [("one", True), ("two", False)])
@pytest.mark.usefixtures("in_two_runs")
def test_trained_policies_are_evaluated_sampled_and_greedy(run: str, has_ce: bool, dials: Dials) -> None:
    first = dials("evaluate", run, "--episodes", "3", "--json")
    assert first.exit_code == 0
    result = json.loads(first.stdout)
    assert result["episodes"] == 3
    assert set(result["returns"]) == {"sampled", "greedy"}
    assert (result["influence_ce"] is not None) == has_ce
    assert dials("evaluate", run, "--episodes", "3", "--json").stdout == first.stdout
    other = json.loads(dials("evaluate", run, "--episodes", "3", "--seed", "4", "--json").stdout)
    assert other["returns"] != result["returns"]


@pytest.mark.usefixtures("in_two_runs")
def test_the_number_of_episodes_is_that_of_the_final_evaluation_unless_asked(dials: Dials) -> None:
    result = dials("evaluate", "one")
    assert result.exit_code == 0
    assert result.stdout.count("(4 episodes)") == 2
    assert result.stdout.startswith("policies after 6,400 steps per agent, on episodes of seed 1000003:\n")
    assert "influence cross-entropy" in result.stdout


@pytest.mark.usefixtures("in_two_runs")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ppo.gamma=0.9", "--set ppo.gamma=0.9: of a finished run only the domain can be changed"),
        ("domain.sides=3", "unknown key 'domain.sides': did you mean 'side'? warehouse has side, item_ages"),
        ("domain.side=3", "--set: the run has 4 agents, the changed domain 9"),
        ("domain.item_ages=false", "--set: the run's agents do not fit the changed domain"),
    ],
)
def test_of_a_finished_run_only_how_the_domain_is_simulated_can_be_changed(
    setting: str, message: str, dials: Dials
) -> None:
    result = dials("evaluate", "one", "--set", setting)
    assert (result.exit_code, result.stderr) == (2, f"dials: {message}\n")


@pytest.mark.usefixtures("in_two_runs")
def test_scripted_policies_are_evaluated_by_name(dials: Dials) -> None:
    returns = {}
    for policy in ("closest", "random"):
        result = dials("evaluate", "one", "--policy", policy, "--episodes", "50", "--json")
        assert result.exit_code == 0
        returns[policy] = json.loads(result.stdout)["returns"][policy]["mean"]
    assert returns["closest"] > 5 > returns["random"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["one", "--policy", "nobody"],
            "no scripted policy 'nobody' in the domain 'warehouse'; there are random, ",
        ),
        (["three"], "no run 'three' in"),
        (["a b"], "'a b' is no name for a run"),
    ],
)
@pytest.mark.usefixtures("in_two_runs")
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    arguments: list[str], message: str, dials: Dials
) -> None:
    result = dials("evaluate", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_that_is_not_there_is_answered_with_those_that_are(dials: Dials, in_two_runs: Path) -> None:
    assert (
        dials("evaluate", "three").stderr == f"dials: no run 'three' in {in_two_runs}; there are one, two\n"
    )


def test_a_run_is_found_by_its_path_too(dials: Dials, two_runs: Path) -> None:
    result = dials("evaluate", str(two_runs / "one"), "--policy", "random", "--episodes", "2")
    assert result.exit_code == 0


# --- report -----------------------------------------------------------------------------------------------


def test_a_report_is_written_again(dials: Dials, in_two_runs: Path) -> None:
    report = in_two_runs / "one" / "report.html"
    report.unlink()
    result = dials("report", "one")
    assert (result.exit_code, result.stdout) == (0, f"{report}\n")
    assert report.stat().st_size > 10_000


def test_two_runs_are_compared_on_one_page(dials: Dials, in_two_runs: Path, tmp_path: Path) -> None:
    result = dials("report", "one", "two")
    assert (result.exit_code, result.stdout) == (0, f"{in_two_runs / 'comparison.html'}\n")
    page = (in_two_runs / "comparison.html").read_text(encoding="utf-8")
    assert "one" in page
    assert "two" in page
    assert dials("report", "one", "two", "--out", str(tmp_path / "other.html")).exit_code == 0
    assert (tmp_path / "other.html").is_file()


@pytest.mark.usefixtures("in_two_runs")
def test_a_report_of_a_run_that_is_not_there_is_refused(dials: Dials) -> None:
    result = dials("report", "one", "three")
    assert result.exit_code == 2
    assert "no run 'three'" in result.stderr
    assert result.stderr.count("\n") == 1


# --- check-vectors ----------------------------------------------------------------------------------------


def recording() -> Any:
    return json.loads(RECORDING.read_text(encoding="utf-8"))


def test_the_recording_of_the_original_agrees(dials: Dials) -> None:
    result = dials("check-vectors", str(RECORDING), "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)
    assert row["checks"] > 10_000
    assert (row["mismatches"], row["first"]) == (0, "")
    assert "checks, 0 mismatches" in dials("check-vectors", str(RECORDING)).stdout


def test_a_difference_is_found_and_its_place_is_named(dials: Dials, tmp_path: Path) -> None:
    changed = recording()
    changed["steps"][7]["reward"][2] += 0.001
    changed["steps"][9]["obs"][0][0] = 1 - changed["steps"][9]["obs"][0][0]
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(changed), encoding="utf-8")
    result = dials("check-vectors", str(RECORDING), str(path))
    assert result.exit_code == 1
    assert f"{path}: " in result.stdout
    assert "first: step 7 reward: at (2,)" in result.stdout
    assert result.stdout.rstrip().endswith("checks, 2 mismatches")


@pytest.mark.parametrize(
    "content",
    [b"\xff\x00garbage", b"[]", b"{}", b"3", b'{"n_side": 2, "steps": [], "learning": []}', b""],
)
def test_a_file_that_is_no_recording_is_refused(content: bytes, dials: Dials, tmp_path: Path) -> None:
    path = tmp_path / "garbage.json"
    path.write_bytes(content)
    result = dials("check-vectors", str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"dials: {path} is no warehouse recording: ")
    assert result.stderr.count("\n") == 1


def test_a_recording_with_a_missing_part_is_refused(dials: Dials, tmp_path: Path) -> None:
    broken = recording()
    del broken["steps"][3]["influence"]
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken), encoding="utf-8")
    result = dials("check-vectors", str(path))
    assert result.exit_code == 2
    assert "KeyError: 'influence'" in result.stderr


def test_a_recording_that_is_not_there_is_refused(dials: Dials) -> None:
    result = dials("check-vectors", "none.json")
    assert result.exit_code == 2
    assert result.stderr == "dials: cannot read none.json: No such file or directory\n"


# --- bench ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("rollout", "agent-steps/s"),
        ("learn", "agent-steps/s"),
        ("aip", "s a refresh"),
        ("gs", "GS steps/s"),
    ],
)
def test_every_part_can_be_measured(name: str, unit: str, dials: Dials) -> None:
    size = ("--agents", "4", "--envs", "4", "--repeats", "2", "--json")
    result = dials("bench", name, *size, "--set", "aip.gs_steps=1000", "--set", "aip.epochs=2")
    assert result.exit_code == 0
    measured = json.loads(result.stdout)
    assert (measured["benchmark"], measured["agents"], measured["envs"]) == (name, 4, 4)
    assert measured["unit"] == unit
    low, high = sorted((measured["best"], measured["worst"]))
    assert 0 < low <= measured["median"] <= high
    assert measured["machine"]["cores"] >= 1


def test_a_measurement_says_what_it_was_made_on(dials: Dials) -> None:
    result = dials("bench", "gs", "--agents", "4", "--envs", "4", "--repeats", "1")
    assert result.exit_code == 0
    assert "one thread used" in result.stdout
    assert "gs, warehouse: 4 agents x 4 environments: median" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gs", "--agents", "5"], "--agents 5: our grids have a square number of agents"),
        (["gs", "--set", "ppo.clap=1"], "unknown key 'ppo.clap': did you mean 'clip'?"),
    ],
)
def test_a_wrong_measurement_is_refused(arguments: list[str], message: str, dials: Dials) -> None:
    result = dials("bench", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"dials: {message}\n"


def test_a_report_on_a_run_that_is_not_finished_says_how_to_go_on(dials: Dials, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "early"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("", encoding="utf-8")
    result = dials("report", "early")
    assert result.exit_code == 2
    assert "not finished" in result.stderr
    assert "dials train --run early --resume" in result.stderr


# --- validate ---------------------------------------------------------------------------------------------


def validate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: it runs SUMO in its process."""
    command = [sys.executable, "-m", "dials_async", "validate", "traffic", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_validate_compares_the_local_simulator_with_sumo_and_with_the_grid() -> None:
    result = validate("--episodes", "1", "--replays", "1", "--side", "2")
    assert result.returncode == 0, result.stderr
    assert "They agree." in result.stdout
    assert "Influence replay, 2 x 2 lights:" in result.stdout
    assert "fixed-time" in result.stdout


def test_validate_prints_json_for_programs() -> None:
    measured = json.loads(validate("--episodes", "1", "--replays", "0", "--json").stdout)
    assert measured["local"]["is_exact"] is True
    assert measured["local"]["total"]["cars"] > 1000
    assert measured["local"]["total"]["wrong_bits"] == 0
    assert measured["replay"] == []


def test_validate_says_when_sumo_is_of_another_version(dials: Dials) -> None:
    result = dials("validate", "traffic", "--sumo-version", "1.2.3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "SUMO 1.28.0 is installed, and 1.2.3 is needed" in result.stderr
