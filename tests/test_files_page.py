"""Who knows only docs/files.md can use a run's networks: its program gives the decisions of the kernels."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dials_async.config import load_config
from dials_async.domains.checked import CheckedDomain
from dials_async.domains.registry import make_domain
from dials_async.groups import Group, make_groups
from dials_async.influence.training import cross_entropy
from dials_async.kernels.bits import packed_size, unpack
from dials_async.learning.ppo_torch import network
from dials_async.rollout.joint import JointEpisodes, run_joint
from dials_async.run_folder import CHECKPOINTS, read_config
from dials_async.runtime import training
from dials_async.runtime.wiring import fingerprint_of
from dials_async.store.checkpoint import load_checkpoint
from tests.runtime.small import SMALL

PAGE = Path(__file__).parents[1] / "docs" / "files.md"
EPISODES = 3


class Recorded:
    """A trained run, and episodes of it: what its kernels decided."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = read_config(folder)
        self.domain: CheckedDomain = make_domain(config.domain)
        self.groups: list[Group] = make_groups(config, self.domain)
        snapshot = load_checkpoint(folder / CHECKPOINTS, fingerprint_of(config)).snapshot
        self.weights = [snapshot.groups[group.index].state.arrays["weights"] for group in self.groups]
        self.aips = [snapshot.aips[-1].arrays[f"g{group.index}"] for group in self.groups]

    def episodes(self, greedy: bool) -> JointEpisodes:
        actors = [group.actors(w) for group, w in zip(self.groups, self.weights, strict=True)]
        return run_joint(self.domain, self.groups, actors, EPISODES, 5, "page", greedy=greedy)


@pytest.fixture(scope="module", params=["mlp", "gru"])
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, whole_runs: None
) -> Recorded:
    aip = {"mlp": "gru", "gru": "mlp"}[request.param]
    settings = [*SMALL, f"policy.network={request.param}", f"aip.network={aip}", "domain.item_ages=true"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIALS_RUNS", str(tmp_path_factory.mktemp("page")))
        config = load_config("warehouse-4", [*settings, "ppo.learning_rate=0.01"])
        return Recorded(training.train("page", config, "").folder)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The functions of the page; what they import is not ours."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert "dials" not in program
    functions: dict[str, Any] = {}
    exec(compile(program, str(PAGE), "exec"), functions)
    return functions


def outputs(page: dict[str, Any], found: tuple[Any, Any], observations: np.ndarray) -> np.ndarray:
    """Of a network for the packed observations [steps, bytes] of an episode."""
    described, arrays = found
    hidden, rows = page["start"](described), []
    for packed in observations:
        row, hidden = page["step"](described, arrays, packed, hidden)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("greedy", [False, True])
def test_policies(greedy: bool, recorded: Recorded, page: dict[str, Any]) -> None:
    networks, joint = page["read"](recorded.folder), recorded.episodes(greedy)
    assert sorted(networks) == [0, 1, 2, 3]
    agreed = decisions = 0
    for group, seen in zip(recorded.groups, joint.by_group, strict=True):
        for row, agent in enumerate(group.agents):
            for episode in range(EPISODES):
                actor = networks[agent]["actor"]
                logits = outputs(page, actor, seen.observations[row, episode, :-1])
                actions = seen.actions[row, episode].astype(int)
                taken = page["probabilities"](logits)[np.arange(len(actions)), actions]
                np.testing.assert_allclose(np.log(taken), seen.log_probs[row, episode], atol=1e-4)
                agreed += int((logits.argmax(axis=1) == actions).sum())
                decisions += len(actions)
    assert decisions == 4 * EPISODES * recorded.domain.episode_steps
    assert agreed == decisions if greedy else 0 < agreed < decisions


def test_critics(recorded: Recorded, page: dict[str, Any]) -> None:
    networks, joint = page["read"](recorded.folder), recorded.episodes(greedy=False)
    for group, seen, weights in zip(recorded.groups, joint.by_group, recorded.weights, strict=True):
        for row, agent in enumerate(group.agents):
            observed = seen.observations[row, 0]
            bits = torch.from_numpy(unpack(observed, group.spec.observation_bits)).float()[:, None]
            parameters = torch.from_numpy(weights[row, group.n_actor :].copy())
            expected, _ = network(group.critic, parameters, bits, torch.zeros(1, group.critic.h2))
            values = outputs(page, networks[agent]["critic"], observed)
            np.testing.assert_allclose(values, expected[:, 0].numpy(), atol=1e-4)


def test_aips(recorded: Recorded, page: dict[str, Any]) -> None:
    networks, joint = page["read"](recorded.folder), recorded.episodes(greedy=False)
    for k, group in enumerate(recorded.groups):
        spec = group.spec
        for row, agent in enumerate(group.agents):
            observed, influence = joint.by_group[k].observations[row, :, :-1], joint.influence[k][row]
            logits = np.array([outputs(page, networks[agent]["aip"], one) for one in observed])
            predicted = page["probabilities"](logits.reshape(*influence.shape, spec.n_classes))
            right = np.take_along_axis(predicted, influence[..., None].astype(int), axis=-1)
            dsets = np.ascontiguousarray(observed[..., : packed_size(spec.dset_bits)])
            expected = cross_entropy(group.aip, recorded.aips[k][row], spec.n_classes, dsets, influence)
            assert -np.log(right).mean() == pytest.approx(expected, abs=1e-4)
