"""What docs/new-domain.md prints is a package: installed, trained, tested, and compiled as the page says."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "new-domain.md"
BLOCK = re.compile(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
METHOD = re.compile(
    r"^Then let the domain `Tanks` make that state:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL
)

#: Of training: small, but with everything in it.
SETTINGS = (
    *("run.steps=8000", "rollout.episodes_per_task=8", "aip.gs_steps=1000", "aip.epochs=2"),
    *("schedule.refresh_steps=4000", "schedule.eval_steps=4000"),
    *("schedule.eval_episodes=2", "schedule.final_eval_episodes=4"),
)


def files() -> dict[str, str]:
    """The files on the page, by path."""
    return dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))


def install(folder: Path, contents: Mapping[str, str]) -> None:
    """Write and install a package, to be found in ``folder``/site."""
    for name, text in contents.items():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_text(text, encoding="utf-8")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    call(folder, sys.executable, "-m", "pip", "install", *options, "--target", "site", "./source")


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "DIALS_RUNS": str(folder / "runs")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, whole_runs: None) -> Path:
    """The page's package, installed; always in one place, as cached kernels depend on it."""
    assert request.config.cache is not None
    folder: Path = request.config.cache.mkdir("new-domain")
    for part in ("source", "site", "runs"):
        shutil.rmtree(folder / part, ignore_errors=True)
    install(folder, files())
    return folder


def test_the_page_shows_the_files_that_it_lists() -> None:
    shown = {"pyproject.toml", "tanks.toml", "tanks/__init__.py", "tests/test_tanks.py"}
    assert set(files()) == {*shown, "tanks/compiled.py"}
    assert all(f"\n{name}\n" in PAGE.read_text(encoding="utf-8") for name in shown)


def test_the_domain_of_the_page_trains(project: Path) -> None:
    # When it is trained as the page says, but shorter
    settings = [word for text in SETTINGS for word in ("--set", text)]
    done = call(
        *(project, sys.executable, "-m", "dials_async", "train", "source/tanks.toml"),
        *("--run", "tanks", "--quiet", "--metrics-address", "off", *settings),
    )
    # Then to the end, with a report; and nothing is said that the user should not have to read
    assert "6 agents learned for" in done.stdout
    assert done.stderr == ""
    summary = json.loads((project / "runs" / "tanks" / "summary.json").read_text(encoding="utf-8"))
    assert summary["aip_refreshes"] == 2
    assert 0 < summary["final_return_mean"] < 50
    assert set(summary["baselines"]) == {"threshold"}
    assert "tanks on target" in (project / "runs" / "tanks" / "scene.json").read_text(encoding="utf-8")
    assert (project / "runs" / "tanks" / "report.html").exists()


def test_the_test_of_the_page_passes(project: Path) -> None:
    done = call(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "source/tests")
    assert "1 passed" in done.stdout


COMPILED = """
from collections.abc import Sequence
from typing import Any

import numpy as np
from dials_async.config import load_config
from dials_async.domains.checked import CheckedDomain
from dials_async.groups import make_groups
from dials_async.kernels.compile import jit
from dials_async.rollout.ials import IalsRollout
from tanks import STEPS, Tanks
from tanks.compiled import TanksLocalState, make_local_state, observe, reset, step_with


# Given the episodes of a GS
gs, rng = Tanks(5).make_global(8), np.random.default_rng(1)
gs.reset(np.arange(8, dtype=np.uint64))
state = make_local_state(40)


@jit
def replay(state, actions, inflow, weather, rewards):
    for row in range(40):
        rewards[row] = step_with(state, row, actions[row], inflow[row], weather[row])


@jit
def observe_all(state, out):
    for row in range(40):
        observe(state, row, out[row])


# Then the compiled rule repeats it
state.level[:] = 2
observed, rewards = np.zeros((40, 1), np.uint8), np.zeros(40, np.float32)
for t in range(STEPS):
    observe_all(state, observed)
    np.testing.assert_array_equal(observed.ravel(), gs.observe().ravel())
    actions = rng.integers(0, 2, (5, 8), dtype=np.uint8)
    result = gs.step(actions)
    replay(state, actions.ravel(), result.influence.ravel(), gs.weather[t].ravel(), rewards)
    np.testing.assert_array_equal(rewards.reshape(5, 8), result.rewards)

# And the fused rollout takes it
class Compiled(Tanks):
{method}

config = load_config("source/tanks.toml")
domain = CheckedDomain(Compiled())
assert type(domain.local_state((0,), 1)) is TanksLocalState
group = make_groups(config, domain)[0]
rollout = IalsRollout(domain, group, 4, 1)
episodes = rollout.run(group.actors(group.initial_weights(1)), group.initial_aips(1), 0, 0)
assert set(np.unique(episodes.observations)) == {1 << level for level in range(5)}
assert set(np.unique(episodes.rewards)) == {0.0, 1.0}
print("compiled")
"""


def test_the_compiled_ls_of_the_page_is_the_rule_of_the_gs(project: Path) -> None:
    (method,) = METHOD.findall(PAGE.read_text(encoding="utf-8"))
    (project / "check.py").write_text(COMPILED.replace("{method}", method), encoding="utf-8")
    assert call(project, sys.executable, "check.py").stdout == "compiled\n"
