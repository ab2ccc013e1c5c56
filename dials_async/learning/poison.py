"""Updates that are not finite: which agents' they are, and what is said of the experience that made them.

One poisonous message, however well-formed, must not end training: its batch is taken to the dead letters and
asked for once more. Only if what comes in its place does the same it is learning that fails.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dials_async.config import Config
from dials_async.errors import TrainingError
from dials_async.groups import Group
from dials_async.messaging.schema import Experience
from dials_async.store.base import GroupState


def broken_agents(new: GroupState, group: Group) -> list[int]:
    """The agents whose weights or optimiser the update has left with numbers that are not finite."""
    return [
        agent
        for row, agent in enumerate(group.agents)
        if not all(np.isfinite(new.arrays[name][row]).all() for name in ("weights", "adam_m", "adam_v"))
    ]


class Burials:
    """Remembers which update of a group was tried with other experience already."""

    def __init__(self, config: Config) -> None:
        self._ppo = config.ppo
        self._version = -1

    def reasons(
        self, version: int, broken: Sequence[int], batches: Mapping[int, Sequence[Experience]]
    ) -> dict[int, str]:
        """Why the batch of each broken agent goes to the dead letters; TrainingError the second time."""
        ranges = {agent: _ranges(batches[agent]) for agent in broken}
        if self._version == version:
            raise TrainingError(
                f"the weights of agents {list(broken)} are not finite after update {version}, twice: lower "
                f"ppo.learning_rate ({self._ppo.learning_rate}) or ppo.max_gradient_norm; "
                f"agent {broken[0]} learned from {ranges[broken[0]]}"
            )
        self._version = version
        return {a: f"update {version} of agent {a} is not finite: {text}" for a, text in ranges.items()}


def _ranges(batch: Sequence[Experience]) -> str:
    """The range of what an update learned from, in words."""
    words = []
    for name, field in (("rewards", "rewards"), ("log-probabilities", "log_probs")):
        arrays = [getattr(message, field) for message in batch]
        words.append(f"{name} {min(a.min() for a in arrays):g} to {max(a.max() for a in arrays):g}")
    return ", ".join(words)
