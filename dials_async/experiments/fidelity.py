"""How near the IALS comes to the GS: the same policies in both, agent by agent.

If the AIPs were exact, an agent could not tell its IALS from the GS (paper, section 3.1): the same returns,
and every bit of its local state set equally often.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.experiments.trained import read_trained
from dials_async.influence.training import cross_entropy
from dials_async.kernels.bits import unpack

#: Episodes of the GS, and of every agent's IALS.
EPISODES = 64

#: Seed of the episodes: none that training or evaluation uses.
SEED = 2_000_003


def fidelity(folder: Path, episodes: int = EPISODES) -> list[Mapping[str, Any]]:
    """One row for each agent of the finished run in ``folder``.

    Returns:
        agent, its row and column in the grid; mean return and its standard error in the GS and in the IALS;
        the mean and the largest difference, over the bits of the d-set, between how often a bit is set in
        the GS and in the IALS (0 to 1); the AIP's cross-entropy on the GS episodes, nats per source.
    """
    run = read_trained(folder)
    side = math.isqrt(run.domain.n_agents)
    joint = run.global_episodes(episodes, SEED)
    rows: list[Mapping[str, Any]] = []
    for k, group in enumerate(run.groups):
        aips, spec = run.aips[-1][1][k], group.spec
        local, world = run.local_episodes(k, aips, episodes, SEED), joint.by_group[k]
        for row, agent in enumerate(group.agents):
            difference = np.abs(
                _set_share(world.observations[row], spec.dset_bits)
                - _set_share(local.observations[row], spec.dset_bits)
            )
            dsets = group.dsets(world.observations[row])
            in_gs, in_ials = (x.rewards[row].sum(axis=1, dtype=np.float64) for x in (world, local))
            rows.append(
                {
                    "agent": agent,
                    "row": agent // side,
                    "column": agent % side,
                    "gs_return": float(in_gs.mean()),
                    "gs_return_se": float(in_gs.std(ddof=1) / math.sqrt(episodes)),
                    "ials_return": float(in_ials.mean()),
                    "ials_return_se": float(in_ials.std(ddof=1) / math.sqrt(episodes)),
                    "bit_difference_mean": float(difference.mean()),
                    "bit_difference_max": float(difference.max()),
                    "influence_ce": cross_entropy(
                        group.aip, aips[row], spec.n_classes, dsets, joint.influence[k][row]
                    ),
                }
            )
    return sorted(rows, key=lambda row: row["agent"])


def _set_share(observations: NDArray[np.uint8], n_bits: int) -> NDArray[np.float64]:
    """How often each of the first ``n_bits`` bits is set; ``observations`` [episodes, steps, bytes]."""
    share: NDArray[np.float64] = unpack(observations, n_bits).mean(axis=(0, 1), dtype=np.float64)
    return share
