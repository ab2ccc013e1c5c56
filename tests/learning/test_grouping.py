"""Training a stack of agents equals training each agent alone, to the bit."""

from pathlib import Path

import numpy as np
import pytest

from dials_async.runtime.embedded import EmbeddedRun
from tests.rollout.contexts import small_config

pytestmark = pytest.mark.usefixtures("whole_runs")


def train(folder: Path, *settings: str) -> dict[int, tuple[bytes, bytes]]:
    """Weights of policy and AIP of every agent after a short run."""
    run = EmbeddedRun("r", small_config(*settings), folder, resume=False)
    run.start()
    assert run.wait(lambda: None)
    store = run.context.store
    aips = store.latest_aip()
    assert aips is not None
    result = {}
    for group in run.context.groups:
        state = store.latest_group(group.index)
        assert state is not None
        assert state.version == 4
        for row, agent in enumerate(group.agents):
            aip = aips.arrays[f"g{group.index}"][row]
            result[agent] = state.arrays["weights"][row].tobytes(), aip.tobytes()
    return result


@pytest.fixture(scope="module", params=["mlp", "gru"])
def policy(request: pytest.FixtureRequest) -> str:
    return f"policy.network={request.param}"


@pytest.fixture(scope="module")
def together(
    whole_runs: None, policy: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[bytes, bytes]]:
    """One group of all four agents, two refreshes of the AIPs."""
    return train(tmp_path_factory.mktemp("run"), policy, "schedule.refresh_steps=1600")


@pytest.mark.parametrize("agents_per_group", [1, 2, 3])
def test_every_agent_learns_the_same_whatever_its_group(
    policy: str, together: dict[int, tuple[bytes, bytes]], tmp_path: Path, agents_per_group: int
) -> None:
    wanted = f"rollout.agents_per_group={agents_per_group}"
    assert train(tmp_path, policy, "schedule.refresh_steps=1600", wanted) == together


def test_agents_learn_different_things_and_another_seed_other_ones(
    policy: str, together: dict[int, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    """The control: equal bytes above are no accident of weights that never change."""
    assert len({weights for weights, _ in together.values()}) == 4
    assert len({aip for _, aip in together.values()}) == 4
    other = train(tmp_path, policy, "schedule.refresh_steps=1600", "run.seed=2")
    assert not set(other.values()) & set(together.values())


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(
    policy: str, together: dict[int, tuple[bytes, bytes]], tmp_path: Path, workers: int
) -> None:
    assert train(tmp_path, policy, "schedule.refresh_steps=1600", f"runtime.workers={workers}") == together


def test_the_update_in_torch_leads_to_the_same_policies_within_rounding(tmp_path: Path) -> None:
    ours = train(tmp_path / "a", "ppo.epochs=1", "run.steps=3200")
    theirs = train(tmp_path / "b", "ppo.epochs=1", "run.steps=3200", "ppo.backend=torch")
    for agent, (weights, _) in ours.items():
        first, second = (np.frombuffer(w, np.float32) for w in (weights, theirs[agent][0]))
        assert not np.array_equal(first, second)
        close = np.abs(first - second) < 1e-3
        assert close.mean() > 0.9, agent  # a sampled action that flips changes all that follows
