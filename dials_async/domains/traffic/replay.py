"""Influence replay: how much of a GS episode the LS repeats, fed the cars that entered in it.

With exact influence and exact insertion the LS would repeat the agent's part of the episode bit for bit. u
says only that a car enters, not where within the first 10 m and how fast, and the LS knows no jam behind its
exits: what differs measures these two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.rules import DSET_BITS, N_APPROACHES, N_CELLS, OBSERVATION_BITS
from dials_async.kernels.bits import unpack


@dataclass(frozen=True)
class ReplayAgreement:
    """How far the LS repeats what the GS showed under one policy."""

    policy: str
    episodes: int
    occupied: int
    """Occupancy bits that were set in the GS."""
    wrong_outer: float
    """Share of wrong bits on approaches from outside of the grid."""
    wrong_inner: float
    """The same on approaches from another light; NaN if there are none."""
    wrong_lights: int
    """Light bits that differ: must be 0."""
    return_difference: float
    """Mean return of the LS less that of the GS."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        inner = None if math.isnan(self.wrong_inner) else self.wrong_inner
        return {**vars(self), "wrong_inner": inner}


def replay(domain: Traffic, policy: str, seeds: NDArray[np.uint64]) -> ReplayAgreement:
    """Run one GS episode for each of ``seeds`` under a scripted policy, and repeat each in the LS."""
    n = domain.n_agents
    occupied, lights, difference = 0, 0, 0.0
    wrong = np.zeros((n, N_APPROACHES))
    for seed in seeds:
        simulator, local = domain.make_global(1), domain.make_local(range(n), 1)
        try:
            scripted = domain.scripted_policy(policy, 1)
            simulator.reset(np.array([seed]))
            scripted.reset(np.array([seed]))
            local.reset(np.full((n, 1), seed))
            for _ in range(domain.episode_steps):
                actions = scripted.act(simulator)
                rewards, influence = simulator.step(actions)
                repeated = local.step(actions, influence)
                difference += float(repeated.mean() - rewards.mean())
                truth, copy = (unpack(s.observe()[:, 0], OBSERVATION_BITS) for s in (simulator, local))
                occupied += int(truth[:, :DSET_BITS].sum())
                lights += int((truth != copy)[:, DSET_BITS:].sum())
                cells = (truth != copy)[:, :DSET_BITS].reshape(n, N_APPROACHES, N_CELLS)
                wrong += cells.sum(axis=2)
        finally:
            simulator.close()
            local.close()
    share = wrong / (len(seeds) * domain.episode_steps * N_CELLS)
    outer = np.array([[domain.grid.is_outer(agent, k) for k in range(N_APPROACHES)] for agent in range(n)])
    return ReplayAgreement(
        policy=policy,
        episodes=len(seeds),
        occupied=occupied,
        wrong_outer=float(share[outer].mean()),
        wrong_inner=float(share[~outer].mean()) if not outer.all() else float("nan"),
        wrong_lights=lights,
        return_difference=difference / len(seeds),
    )


def as_text(rows: Sequence[ReplayAgreement]) -> str:
    """A table of some policies."""
    lines = ["policy         episodes  wrong bits, outer roads  inner roads  LS return less GS return"]
    for row in rows:
        inner = "-" if math.isnan(row.wrong_inner) else f"{row.wrong_inner:.3%}"
        lines.append(
            f"{row.policy:<14} {row.episodes:>8}  {row.wrong_outer:>23.3%}  {inner:>11}  "
            f"{row.return_difference:>+25.2f}"
        )
    return "\n".join(lines)
