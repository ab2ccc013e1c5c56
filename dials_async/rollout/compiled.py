"""The fused rollout: policy, AIP and compiled local simulator of a whole group in one kernel (Algorithm 3).

Agent after agent, so that one agent's weights stay in cache and the rate does not depend on the number
of agents; all episodes of an agent side by side, so that layers are matrix products. No Python runs
inside, the GIL is released throughout.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.local import local_observe, local_reset, local_step
from dials_async.kernels.bits import active_bits
from dials_async.kernels.compile import jit
from dials_async.networks.layout import GRU, Shape, Workspace
from dials_async.networks.network import clear_hidden, forward, keep_hidden, prepare
from dials_async.networks.sampling import draw, softmax


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
    n_dset = np.zeros(n_episodes, dtype=np.int32)
    action_weights = np.zeros_like(policy_ws.out)
    class_weights = np.zeros_like(aip_ws.out)
    action_totals = np.zeros((n_episodes, 1), dtype=np.float32)
    class_totals = np.zeros((n_episodes, n_sources), dtype=np.float32)
    influence = np.zeros(n_sources, dtype=np.uint8)
    packed = np.zeros(observations.shape[3], dtype=np.uint8)
    for agent in range(n_agents):
        own_streams = streams[agent]
        prepare(policy, policies[agent], policy_ws)
        prepare(aip, aips[agent], aip_ws)
        if policy.kind == GRU:
            clear_hidden(policy, n_episodes, policy_ws)
        if aip.kind == GRU:
            clear_hidden(aip, n_episodes, aip_ws)
        for env in range(n_episodes):
            local_reset(state, agent * n_episodes + env, simulator_seeds[agent, env])
        for t in range(n_steps):
            for env in range(n_episodes):
                local_observe(state, agent * n_episodes + env, packed)
                for k in range(packed.shape[0]):
                    observations[agent, env, t, k] = packed[k]
                n = active_bits(packed, policy.n_in, policy.ladder_from, policy.ladder_steps, seen, env, 0)
                n_seen[env] = n
                while n > 0 and seen[env, n - 1] >= dset_bits:
                    n -= 1
                n_dset[env] = n  # the d-set is the first bits of the observation
            forward(policy, seen, n_seen, 1, n_episodes, policy_ws)
            forward(aip, seen, n_dset, 1, n_episodes, aip_ws)
            if policy.kind == GRU:
                keep_hidden(policy, n_episodes, policy_ws)
            if aip.kind == GRU:
                keep_hidden(aip, n_episodes, aip_ws)
            softmax(policy_ws.out, n_episodes, 1, policy.n_out, action_weights, action_totals)
            softmax(aip_ws.out, n_episodes, n_sources, n_classes, class_weights, class_totals)
            for env in range(n_episodes):
                action = draw(action_weights, env, 0, policy.n_out, own_streams, env)
                for source in range(n_sources):
                    influence[source] = draw(
                        class_weights, env, source * n_classes, n_classes, own_streams, env
                    )
                actions[agent, env, t] = action
                log_probs[agent, env, t] = policy_ws.out[env, action] - action_totals[env, 0]
                rewards[agent, env, t] = local_step(state, agent * n_episodes + env, action, influence)
        for env in range(n_episodes):
            local_observe(state, agent * n_episodes + env, packed)
            for k in range(packed.shape[0]):
                observations[agent, env, n_steps, k] = packed[k]
