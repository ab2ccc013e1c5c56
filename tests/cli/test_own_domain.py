"""What the user of a domain with a mistake sees: one line that names it, and a name that is free again."""

import json
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dials_async.cache import DOMAINS
from dials_async.domains import registry
from tests.cli.conftest import Dials
from tests.domains import faulty
from tests.runtime.small import SMALL, as_options

PRESET = """
[domain]
name = "faulty"
[run]
steps = 20_000
[schedule]
refresh_steps = 10_000
"""


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The mistakes of the domain "faulty", which is installed, to be filled in; its preset is faulty.toml."""
    mistakes: dict[str, Any] = {}

    class Mistaken(faulty.Faulty):
        def __init__(self) -> None:
            super().__init__(**mistakes)

    monkeypatch.setattr(faulty, "Mistaken", Mistaken, raising=False)
    entries = [
        EntryPoint("faulty", "tests.domains.faulty:Mistaken", DOMAINS),
        EntryPoint("warehouse", "dials_async.domains.warehouse:Warehouse", DOMAINS),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)  # noqa: ARG005
    (tmp_path / "faulty.toml").write_text(PRESET, encoding="utf-8")
    return mistakes


def fail(_: Any) -> Any:
    raise ZeroDivisionError("of mine")


FAILS_AT = f"{__file__}:{fail.__code__.co_firstlineno + 1}"


@pytest.mark.parametrize(
    ("mistakes", "line"),
    [
        (
            {"influence": lambda a: np.full_like(a, 200)},
            "GS, agent 0, step 2: influence: source 0 has class 200, expected 0 to 7",
        ),
        (
            {"rewards": lambda a: a * np.float32("nan")},
            "GS, agent 0, step 2: rewards: nan is not a finite number",
        ),
        (
            {"rewards": lambda a: a * 4},
            "GS, agent 0, step 2: rewards: 2 is beyond 1, the domain's largest_reward",
        ),
        (
            {"observations": lambda a: a.astype(float)},
            "GS, step 2: observations: expected uint8, got float64",
        ),
        (
            {"actions": lambda a: a + np.uint8(1)},
            "scripted policy 'script', agent 0, step 0: actions: 3, expected 0 to 2",
        ),
        ({"rewards": fail}, f"GS, step 2: ZeroDivisionError: of mine ({FAILS_AT})"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    mistakes: dict[str, Callable[[Any], Any]],
    line: str,
    wrong: dict[str, Any],
    dials: Dials,
    runs_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faulty, "WRONG_STEP", 0 if "actions" in mistakes else faulty.WRONG_STEP)
    wrong.update(mistakes)
    result = dials("train", "faulty.toml", "--run", "mine", "--quiet")
    assert result.exit_code == 1, result.output
    (said,) = result.stderr.splitlines()
    assert said == f"dials: domain 'faulty', {line}"
    assert not (runs_folder / "mine").exists()


def test_an_ls_without_close_does_not_train(
    wrong: dict[str, Any], dials: Dials, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unfinished:
        def __init__(self, shape: tuple[int, int]) -> None:
            self.world = faulty.Local(shape, wrong)
            self.reset, self.observe, self.step = self.world.reset, self.world.observe, self.world.step

    def make_local(_: Any, agents: Sequence[int], n_envs: int) -> Any:
        return Unfinished((len(agents), n_envs))

    monkeypatch.setattr(faulty.Faulty, "make_local", make_local)
    result = dials("train", "faulty.toml", "--run", "mine", "--quiet")
    assert result.exit_code == 1
    assert (
        "dials: domain 'faulty', LS: Unfinished: has no method close: write it, or inherit" in result.stderr
    )


@pytest.mark.parametrize("how", ["before", "after", "variable"])
def test_tracebacks_are_shown_where_they_are_asked_for(
    how: str, wrong: dict[str, Any], dials: Dials, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong["rewards"] = fail
    words = ["train", "faulty.toml", "--run", "mine", "--quiet"]
    if how == "variable":
        monkeypatch.setenv("DIALS_DEBUG", "1")
    else:
        words = ["--debug", *words] if how == "before" else [*words, "--debug"]
    result = dials(*words)
    assert result.exit_code == 1
    assert f'File "{__file__}", line {fail.__code__.co_firstlineno + 1}, in fail' in result.stderr
    assert "\nZeroDivisionError: of mine\n" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("dials: domain 'faulty', GS, step 2: ZeroDivisionError")


def test_the_name_of_a_run_that_failed_at_its_start_is_free(
    wrong: dict[str, Any], dials: Dials, runs_folder: Path
) -> None:
    # Given a run that failed
    wrong["rewards"] = fail
    assert dials("train", "faulty.toml", "--run", "mine", "--quiet").exit_code == 1
    # When another one takes its name
    result = dials("train", "warehouse-4", "--run", "mine", "--quiet", *as_options(SMALL))
    # Then it trains
    assert result.exit_code == 0, result.output
    assert (runs_folder / "mine" / "summary.json").exists()


def test_sizes_that_cannot_be_are_refused_before_anything_is_made(
    wrong: dict[str, Any],
    dials: Dials,
    runs_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faulty.Faulty, "n_agents", 0)
    result = dials("train", "faulty.toml", "--run", "mine", "--quiet")
    assert result.exit_code == 2
    assert result.stderr == "dials: domain 'faulty': n_agents = 0: must be a whole number from 1\n"
    assert not runs_folder.exists()


@pytest.mark.parametrize("part", ["rollout", "learn", "aip", "gs"])
@pytest.mark.usefixtures("wrong")
def test_any_domain_can_be_measured(part: str, dials: Dials) -> None:
    options = ("--preset", "faulty.toml", "--envs", "2", "--repeats", "1", "--set", "aip.gs_steps=20")
    result = dials("bench", part, *options, "--set", "aip.epochs=1", "--json")
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    assert (measured["domain"], measured["agents"], measured["envs"]) == ("faulty", 3, 2)
    assert measured["median"] > 0


@pytest.mark.usefixtures("wrong")
def test_only_grids_come_in_other_sizes(dials: Dials) -> None:
    result = dials("bench", "gs", "--preset", "faulty.toml", "--agents", "9")
    assert result.exit_code == 2
    assert result.stderr == "dials: --agents: the domain 'faulty' has no option 'side'; use --set\n"
    result = dials("bench", "gs", "--preset", "warehouse-4", "--agents", "8")
    assert result.stderr == "dials: --agents 8: our grids have a square number of agents\n"
