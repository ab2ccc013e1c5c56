"""A warehouse whose local simulator sleeps 1 ms a step: rollouts take time and no processor, as elsewhere."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import LocalSimulator
from dials_async.domains.warehouse import Warehouse

STEP_S = 0.001


class SleepingLocal(LocalSimulator):
    """The LS of a warehouse, behind a pause."""

    def __init__(self, simulator: LocalSimulator) -> None:
        self._simulator = simulator

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """See LocalSimulator."""
        self._simulator.reset(seeds)

    def observe(self) -> NDArray[np.uint8]:
        """See LocalSimulator."""
        return self._simulator.observe()

    def step(self, actions: NDArray[np.uint8], influence: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See LocalSimulator."""
        time.sleep(STEP_S)
        return self._simulator.step(actions, influence)


class SleepingWarehouse(Warehouse):
    """Found by its entry point, as a domain of another package would be."""

    def __init__(self, side: int = 2, item_ages: bool = False) -> None:
        super().__init__(side=side, item_ages=item_ages)

    def local_state(self, agents: Sequence[int], n_envs: int) -> Any:
        """Nothing: not for the fused rollout, which does not sleep."""
        del agents, n_envs

    def make_local(self, agents: Sequence[int], n_envs: int) -> LocalSimulator:
        """See Domain."""
        return SleepingLocal(super().make_local(agents, n_envs))
