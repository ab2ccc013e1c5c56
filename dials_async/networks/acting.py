"""One step of decisions for a stack of agents, compiled: actions from policies, influence from AIPs.

For simulators that are stepped from Python: the GS, and an LS that is not compiled.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import active_bits
from dials_async.kernels.compile import jit
from dials_async.networks.layout import GRU, Shape, Workspace, make_workspace
from dials_async.networks.network import forward, prepare
from dials_async.networks.sampling import draw, greatest, softmax_part

Floats = NDArray[np.float32]


class Memory(NamedTuple):
    """What a stack of networks keeps between the steps of an episode, and its scratch."""

    hidden: Floats  # [agents, envs, h2]; empty for an MLP
    indices: NDArray[np.int16]  # [envs, bits]
    counts: NDArray[np.int32]  # [envs]
    rows: NDArray[np.int32]  # [envs]
    ws: Workspace


def make_memory(shape: Shape, n_agents: int, n_envs: int) -> Memory:
    """Memory at the start of episodes."""
    gru = shape.kind == GRU
    return Memory(
        hidden=np.zeros((n_agents, n_envs if gru else 0, shape.h2), dtype=np.float32),
        indices=np.zeros((n_envs, shape.n_in), dtype=np.int16),
        counts=np.zeros(n_envs, dtype=np.int32),
        rows=np.arange(n_envs, dtype=np.int32),
        ws=make_workspace(shape, n_envs, n_envs, gradient=False),
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
    weights = np.zeros(s.n_out, dtype=np.float32)
    for agent in range(n_agents):
        _output(s, parameters[agent], observations[agent], memory, agent, n_envs)
        for env in range(n_envs):
            top, total = softmax_part(memory.ws.out, env, 0, s.n_out, weights)
            if greedy:
                action = greatest(memory.ws.out, env)
            else:
                action = draw(weights, 0, s.n_out, total, streams[agent], env)
            actions[agent, env] = action
            log_probs[agent, env] = memory.ws.out[env, action] - top - math.log(total)


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
    weights = np.zeros(s.n_out, dtype=np.float32)
    for agent in range(n_agents):
        _output(s, parameters[agent], observations[agent], memory, agent, n_envs)
        for env in range(n_envs):
            for source in range(n_sources):
                start, stop = source * n_classes, (source + 1) * n_classes
                _, total = softmax_part(memory.ws.out, env, start, stop, weights)
                influence[agent, env, source] = draw(weights, start, stop, total, streams[agent], env)


@jit
def _output(
    s: Shape, p: Floats, observations: NDArray[np.uint8], memory: Memory, agent: int, n_envs: int
) -> None:
    for env in range(n_envs):
        memory.counts[env] = active_bits(observations[env], s.n_in, memory.indices, env)
    prepare(s, p, memory.ws)
    if s.kind == GRU:
        memory.ws.hidden[:n_envs] = memory.hidden[agent]
    forward(s, p, memory.indices, memory.counts, memory.rows, 1, n_envs, memory.ws)
    if s.kind == GRU:
        memory.hidden[agent] = memory.ws.hidden[n_envs : 2 * n_envs]
