"""Lemma 2 of the paper in numbers: how far successive AIPs are from each other, and what that may change.

If two IALS differ by at most xi in their influence distributions, the value of a policy differs by at most
R (H - t)(H - t + 1) / 2 xi, with R the greatest reward and H the episode's length. Here t = 0.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.experiments.trained import Floats, read_trained
from dials_async.groups import Group
from dials_async.influence.training import aip_cross_entropy
from dials_async.kernels.bits import packed_size
from dials_async.networks.layout import make_workspace

EPISODES = 64
SEED = 2_000_003

#: Greatest reward of a step, in both domains.
GREATEST_REWARD = 1.0

#: Two distributions differ by no more: sum of absolute differences.
GREATEST_DISTANCE = 2.0


def theory(folder: Path, episodes: int = EPISODES) -> list[Mapping[str, Any]]:
    """One row for each agent and each pair of successive AIPs that the finished run in ``folder`` keeps.

    Returns:
        agent; version of the later AIP; xi, as the greatest over steps of the mean over visited histories,
        and as the greatest over all visited histories; the bound that the former gives; the value of the
        final policy in the IALS with the earlier and with the later AIP, and their difference with its
        standard error.

    The distance is summed over sources, and at most 2: no less than that of the joint distributions. Visited
    are histories of GS episodes under the run's final policies.
    """
    run = read_trained(folder)
    joint = run.global_episodes(episodes, SEED)
    horizon = run.domain.episode_steps
    rows: list[Mapping[str, Any]] = []
    for k, group in enumerate(run.groups):
        n_bytes = packed_size(group.spec.dset_bits)
        for (_, earlier), (version, later) in pairwise(run.aips):
            values = [
                run.local_episodes(k, aips[k], episodes, SEED).rewards.sum(axis=2, dtype=np.float64)
                for aips in (earlier, later)
            ]
            change = values[1] - values[0]  # the same seeds: the same arrivals, the same dice
            for row, agent in enumerate(group.agents):
                dsets = np.ascontiguousarray(joint.by_group[k].observations[row, :, :-1, :n_bytes])
                influence = joint.influence[k][row]
                old, new = (probabilities(group, aips[k][row], dsets, influence) for aips in (earlier, later))
                distance = np.minimum(np.abs(new - old).sum(axis=(2, 3)), GREATEST_DISTANCE)
                xi = float(distance.mean(axis=1).max())
                rows.append(
                    {
                        "agent": agent,
                        "aip_version": version,
                        "xi": xi,
                        "xi_max": float(distance.max()),
                        "bound": GREATEST_REWARD * horizon * (horizon + 1) / 2 * xi,
                        "value_before": float(values[0][row].mean()),
                        "value_after": float(values[1][row].mean()),
                        "value_change": float(change[row].mean()),
                        "value_change_se": float(change[row].std(ddof=1) / np.sqrt(episodes)),
                    }
                )
    return sorted(rows, key=lambda row: (row["aip_version"], row["agent"]))


def probabilities(
    group: Group, aip: Floats, dsets: NDArray[np.uint8], influence: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """What one AIP predicts after each step of some episodes.

    Args:
        group: of the agent.
        aip: its parameters, [parameters].
        dsets: packed, [episodes, steps, bytes].
        influence: what came, [episodes, steps, sources].

    Returns:
        Probabilities, [steps, episodes, sources, classes].
    """
    n_episodes, n_steps, n_sources = influence.shape
    rows, shape = n_episodes * n_steps, group.aip
    ws = make_workspace(shape, rows, n_episodes, gradient=False)
    aip_cross_entropy(shape, aip, group.spec.n_classes, dsets, influence, ws)
    logits = ws.out[:rows, : shape.n_out].reshape(n_steps, n_episodes, n_sources, -1).astype(np.float64)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return result
