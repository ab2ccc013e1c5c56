"""The working memory of a PPO update, made once and reused for agent after agent."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import make_lists, make_table
from dials_async.learning.objective import Minibatch, make_minibatch
from dials_async.learning.settings import Settings
from dials_async.networks.layout import (
    GRU,
    Shape,
    Workspace,
    aligned_zeros,
    make_workspace,
    most_active,
    n_parameters,
    share_scratch,
)

Floats = NDArray[np.float32]


class Scratch(NamedTuple):
    """Working memory of one update, reused for agent after agent."""

    entries: NDArray[np.int16]  # active bits of every observation: a table (``kernels.bits``)
    starts: NDArray[np.int32]  # [episodes * (steps + 1) + 1]
    indices: NDArray[np.int16]  # [minibatch, most active bits]
    counts: NDArray[np.int32]  # [minibatch]
    values: Floats  # [episodes, steps + 1]
    ratios: Floats  # [episodes, steps]
    proximal: Floats  # [episodes, steps], log-probabilities under the policy at the start of the update
    advantages: Floats  # [episodes, steps]
    targets: Floats  # [episodes, steps]
    gradient: Floats  # [parameters]
    actor_all: Workspace  # of whole episodes; for an MLP of one sample only
    critic_all: Workspace
    actor: Workspace  # of a minibatch
    critic: Workspace
    minibatch: Minibatch


def make_scratch(actor: Shape, critic: Shape, settings: Settings, episodes: int, steps: int) -> Scratch:
    """Working memory for updates from ``episodes`` episodes of ``steps`` steps."""
    table = episodes * (steps + 1)
    sequences = max(1, settings.minibatch_steps // settings.sequence_steps)
    samples = sequences * settings.sequence_steps
    gru = actor.kind == GRU

    def floats(*shape: int) -> Floats:
        return np.zeros(shape, dtype=np.float32)

    of_actor = make_workspace(actor, samples, sequences if gru else 0)
    entries, starts = make_table(table, most_active(actor))
    indices, counts = make_lists(samples, most_active(actor))
    of_critic = make_workspace(critic, samples, sequences if gru else 0)
    return Scratch(
        entries=entries,
        starts=starts,
        indices=indices,
        counts=counts,
        values=floats(episodes, steps + 1),
        ratios=floats(episodes, steps),
        proximal=floats(episodes, steps),
        advantages=floats(episodes, steps),
        targets=floats(episodes, steps),
        gradient=aligned_zeros(1, n_parameters(actor) + n_parameters(critic))[0],
        actor_all=make_workspace(actor, table if gru else 1, episodes if gru else 0, gradient=False),
        critic_all=make_workspace(critic, table if gru else 1, episodes if gru else 0, gradient=False),
        actor=of_actor,
        critic=share_scratch(of_critic, of_actor),
        minibatch=make_minibatch(actor.n_out, samples),
    )
