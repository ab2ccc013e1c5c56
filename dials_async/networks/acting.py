"""One step of decisions for a stack of agents, compiled: actions from policies, influence from AIPs.

For simulators that are stepped from Python: the GS, and an LS that is not compiled.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import active_bits
from dials_async.kernels.compile import jit, jit_part_with_arrays
from dials_async.networks.layout import GRU, Shape, Workspace, make_workspace, most_active
from dials_async.networks.network import forward, prepare
from dials_async.networks.sampling import draw, greatest, softmax

Floats = NDArray[np.float32]


class Memory(NamedTuple):
    """What a stack of networks keeps between the steps of an episode, and its scratch."""

    hidden: Floats  # [agents, envs, h2]; empty for an MLP
    indices: NDArray[np.int16]  # [envs, most active bits]
    counts: NDArray[np.int32]  # [envs]
    weights: Floats  # [envs, n_out], as ws.out
    log_totals: Floats  # [envs, n_out]
    ws: Workspace


def make_memory(shape: Shape, n_agents: int, n_envs: int) -> Memory:
    """Memory at the start of episodes."""
    gru = shape.kind == GRU
    ws = make_workspace(shape, n_envs, n_envs, gradient=False)
    return Memory(
        hidden=np.zeros((n_agents, n_envs if gru else 0, shape.h2), dtype=np.float32),
        indices=np.zeros((n_envs, most_active(shape)), dtype=np.int16),
        counts=np.zeros(n_envs, dtype=np.int32),
        weights=np.zeros_like(ws.out),
        log_totals=np.zeros((n_envs, shape.n_out), dtype=np.float32),
        ws=ws,
    )


@jit
def act(
    s: Shape,
    parameters: Floats,  # [agents, parameters]
    observations: NDArray[np.uint8],  # [agents, envs, bytes]
    streams: NDArray[np.uint64],  # [agents, envs], in place
    greedy: bool,
    memory: Memory,  # in place
    actions: NDArray[np.uint8],  # [agents, envs], out
    log_probs: Floats,  # [agents, envs], out
) -> None:
    """Actions and their log-probabilities; sampled, or the likeliest ones where ``greedy``."""
    n_agents, n_envs = actions.shape
    for agent in range(n_agents):
        _output(s, parameters[agent], observations, memory, agent, n_envs, 1, s.n_out)
        for env in range(n_envs):
            if greedy:
                action = greatest(memory.ws.out, env, s.n_out)
            else:
                action = draw(memory.weights, env, 0, s.n_out, streams[agent], env)
            actions[agent, env] = action
            log_probs[agent, env] = memory.ws.out[env, action] - memory.log_totals[env, 0]


@jit
def sample_influence(
    s: Shape,
    n_classes: int,
    parameters: Floats,  # [agents, parameters]
    observations: NDArray[np.uint8],  # [agents, envs, bytes]; the d-set is their first s.n_in bits
    streams: NDArray[np.uint64],  # [agents, envs], in place
    memory: Memory,  # in place
    influence: NDArray[np.uint8],  # [agents, envs, sources], out
) -> None:
    """Draw the influence sources from the AIPs."""
    n_agents, n_envs, n_sources = influence.shape
    for agent in range(n_agents):
        _output(s, parameters[agent], observations, memory, agent, n_envs, n_sources, n_classes)
        for env in range(n_envs):
            for source in range(n_sources):
                influence[agent, env, source] = draw(
                    memory.weights, env, source * n_classes, n_classes, streams[agent], env
                )


@jit_part_with_arrays
def _output(
    s: Shape,
    p: Floats,
    observations: NDArray[np.uint8],  # [agents, envs, bytes]
    memory: Memory,
    agent: int,
    n_envs: int,
    n_parts: int,
    n_classes: int,
) -> None:
    """Softmax of the outputs of ``agent``'s network, whose parameters are ``p``."""
    for env in range(n_envs):
        memory.counts[env] = active_bits(
            observations[agent, env], s.n_in, s.ladder_from, s.ladder_steps, memory.indices, env, 0
        )
    prepare(s, p, memory.ws)
    if s.kind == GRU:
        for env in range(n_envs):
            for k in range(s.h2):
                memory.ws.hidden[env, k] = memory.hidden[agent, env, k]
    forward(s, memory.indices, memory.counts, 1, n_envs, memory.ws)
    if s.kind == GRU:
        for env in range(n_envs):
            for k in range(s.h2):
                memory.hidden[agent, env, k] = memory.ws.hidden[n_envs + env, k]
    softmax(memory.ws.out, n_envs, n_parts, n_classes, memory.weights, memory.log_totals)
