"""The fused rollout: policy, AIP and compiled local simulator of a whole group in one kernel (Algorithm 3).

Agent after agent, so that one agent's weights stay in cache and the rate does not depend on the number
of agents; all episodes of an agent side by side, so that layers are matrix products. No Python runs
inside, the GIL is released throughout.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.local import local_observe, local_reset, local_step
from dials_async.kernels.bits import active_bits
from dials_async.kernels.compile import jit
from dials_async.networks.layout import GRU, Shape, Workspace
from dials_async.networks.network import forward, prepare
from dials_async.networks.sampling import draw, softmax_part


@jit
def rollout_group(
    state: Any,  # the LS, rows = agents x episodes
    simulator_seeds: NDArray[np.uint64],  # [agents, episodes]
    streams: NDArray[np.uint64],  # [agents, episodes], in place: actions and influence are drawn from it
    dset_bits: int,
    n_classes: int,
    policy: Shape,
    policies: NDArray[np.float32],  # [agents, parameters]
    policy_ws: Workspace,
    aip: Shape,
    aips: NDArray[np.float32],  # [agents, parameters]
    aip_ws: Workspace,
    observations: NDArray[np.uint8],  # [agents, episodes, steps + 1, bytes], out
    actions: NDArray[np.uint8],  # [agents, episodes, steps], out
    rewards: NDArray[np.float32],  # [agents, episodes, steps], out
    log_probs: NDArray[np.float32],  # [agents, episodes, steps], out
) -> None:
    """Simulate ``episodes`` whole IALS episodes of every agent of a group."""
    n_agents, n_episodes, n_steps = actions.shape
    n_sources = aip.n_out // n_classes
    seen = np.zeros((n_episodes, policy.n_in), dtype=np.int16)
    n_seen = np.zeros(n_episodes, dtype=np.int32)
    dset = np.zeros((n_episodes, dset_bits), dtype=np.int16)
    n_dset = np.zeros(n_episodes, dtype=np.int32)
    rows = np.arange(n_episodes).astype(np.int32)
    weights = np.zeros(max(policy.n_out, aip.n_out), dtype=np.float32)
    influence = np.zeros(n_sources, dtype=np.uint8)
    packed = np.zeros(observations.shape[3], dtype=np.uint8)
    for agent in range(n_agents):
        policy_p, aip_p, own_streams = policies[agent], aips[agent], streams[agent]
        prepare(policy, policy_p, policy_ws)
        prepare(aip, aip_p, aip_ws)
        if policy.kind == GRU:
            policy_ws.hidden[:n_episodes] = 0.0
        if aip.kind == GRU:
            aip_ws.hidden[:n_episodes] = 0.0
        for env in range(n_episodes):
            local_reset(state, agent * n_episodes + env, simulator_seeds[agent, env])
        for t in range(n_steps):
            for env in range(n_episodes):
                local_observe(state, agent * n_episodes + env, packed)
                for k in range(packed.shape[0]):
                    observations[agent, env, t, k] = packed[k]
                n = active_bits(packed, policy.n_in, seen, env)
                n_seen[env] = n
                m = 0  # the d-set is the first bits of the observation
                while m < n and seen[env, m] < dset_bits:
                    dset[env, m] = seen[env, m]
                    m += 1
                n_dset[env] = m
            forward(policy, policy_p, seen, n_seen, rows, 1, n_episodes, policy_ws)
            forward(aip, aip_p, dset, n_dset, rows, 1, n_episodes, aip_ws)
            if policy.kind == GRU:
                policy_ws.hidden[:n_episodes] = policy_ws.hidden[n_episodes : 2 * n_episodes]
            if aip.kind == GRU:
                aip_ws.hidden[:n_episodes] = aip_ws.hidden[n_episodes : 2 * n_episodes]
            for env in range(n_episodes):
                top, total = softmax_part(policy_ws.out, env, 0, policy.n_out, weights)
                action = draw(weights, 0, policy.n_out, total, own_streams, env)
                for source in range(n_sources):
                    start, stop = source * n_classes, (source + 1) * n_classes
                    _, total_u = softmax_part(aip_ws.out, env, start, stop, weights)
                    influence[source] = draw(weights, start, stop, total_u, own_streams, env)
                actions[agent, env, t] = action
                log_probs[agent, env, t] = policy_ws.out[env, action] - top - math.log(total)
                rewards[agent, env, t] = local_step(state, agent * n_episodes + env, action, influence)
        for env in range(n_episodes):
            local_observe(state, agent * n_episodes + env, packed)
            for k in range(packed.shape[0]):
                observations[agent, env, n_steps, k] = packed[k]
