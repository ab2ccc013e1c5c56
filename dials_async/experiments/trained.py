"""What a finished run has learned, for analyses: its policies, and its newest AIPs."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.checked import CheckedDomain
from dials_async.domains.registry import make_domain
from dials_async.groups import Group, make_groups
from dials_async.rollout.ials import Episodes, IalsRollout
from dials_async.rollout.joint import JointEpisodes, run_joint
from dials_async.run_folder import CHECKPOINTS, read_config
from dials_async.runtime.machine import cores
from dials_async.runtime.wiring import fingerprint_of
from dials_async.store.checkpoint import load_checkpoint

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """A run at its end."""

    domain: CheckedDomain
    groups: list[Group]
    actors: list[Floats]
    """Per group, [agents, actor parameters]."""
    aips: list[tuple[int, list[Floats]]]
    """The versions that the checkpoint keeps, oldest first, each per group [agents, AIP parameters]."""

    def global_episodes(self, n: int, seed: int) -> JointEpisodes:
        """``n`` GS episodes under the policies, actions sampled."""
        with ThreadPoolExecutor(cores()) as pool:
            return run_joint(self.domain, self.groups, self.actors, n, seed, "analysis", pool=pool)

    def local_episodes(self, k: int, aips: Floats, n: int, seed: int) -> Episodes:
        """``n`` episodes of the IALS of every agent of group ``k`` under the policies and ``aips``."""
        rollout = IalsRollout(self.domain, self.groups[k], n, seed)
        try:
            return rollout.run(self.actors[k], aips, 0, 0)
        finally:
            rollout.close()


def read_trained(folder: Path) -> Trained:
    """The finished run in ``folder``. Raises CheckpointError, ConfigError."""
    config = read_config(folder)
    domain = make_domain(config.domain)
    groups = make_groups(config, domain)
    snapshot = load_checkpoint(folder / CHECKPOINTS, fingerprint_of(config)).snapshot
    actors = [group.actors(snapshot.groups[group.index].state.arrays["weights"]) for group in groups]
    aips = [
        (state.version, [np.array(state.arrays[f"g{group.index}"]) for group in groups])
        for state in sorted(snapshot.aips, key=lambda state: state.version)
    ]
    return Trained(domain, groups, actors, aips)
