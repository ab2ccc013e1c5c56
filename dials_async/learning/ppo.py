"""Independent PPO, one agent at a time, compiled: the whole update from experience to new weights.

Reads from top to bottom: table of observations, values, targets, then epochs of minibatches. The objective
is the decoupled one (Hilton et al., 2022, eq. 2): experience comes from a behaviour policy that may be up to
``max_policy_lag`` versions old, the ratio that is clipped is taken to the policy at the start of the update
(proximal), and the behaviour policy enters as a truncated importance weight. At lag 0 both are one
version, every weight is 1, and this is PPO as in Schulman et al. (2017).

``dials_async.learning.ppo_torch`` is the same update in torch: the readable definition, and the oracle
that this kernel is tested against.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import unpack_active
from dials_async.kernels.compile import Scalar, jit, jit_part
from dials_async.kernels.rng import shuffle
from dials_async.learning.returns import normalise, value_targets
from dials_async.learning.settings import Settings
from dials_async.networks.adam import adam_step
from dials_async.networks.layout import GRU, Shape, Workspace, make_workspace, n_parameters
from dials_async.networks.network import backward, forward, prepare
from dials_async.networks.sampling import softmax_part

Floats = NDArray[np.float32]

#: Importance weights of old experience are truncated here (bounds the variance of the objective).
MAX_IMPORTANCE_WEIGHT = 2.0
_MAX_WEIGHT = np.float32(MAX_IMPORTANCE_WEIGHT)


class Scratch(NamedTuple):
    """Working memory of one update, reused for agent after agent."""

    indices: NDArray[np.int16]  # [episodes * (steps + 1), bits]
    counts: NDArray[np.int32]  # [episodes * (steps + 1)]
    values: Floats  # [episodes, steps + 1]
    ratios: Floats  # [episodes, steps]
    proximal: Floats  # [episodes, steps], log-probabilities under the policy at the start of the update
    advantages: Floats  # [episodes, steps]
    targets: Floats  # [episodes, steps]
    gradient: Floats  # [parameters]
    actor_all: Workspace
    critic_all: Workspace
    actor: Workspace  # of a minibatch
    critic: Workspace


def make_scratch(actor: Shape, critic: Shape, settings: Settings, episodes: int, steps: int) -> Scratch:
    """Working memory for updates from ``episodes`` episodes of ``steps`` steps."""
    table = episodes * (steps + 1)
    sequences = max(1, settings.minibatch_steps // settings.sequence_steps)
    samples = sequences * settings.sequence_steps
    gru = actor.kind == GRU

    def floats(*shape: int) -> Floats:
        return np.zeros(shape, dtype=np.float32)

    return Scratch(
        indices=np.zeros((table, actor.n_in), dtype=np.int16),
        counts=np.zeros(table, dtype=np.int32),
        values=floats(episodes, steps + 1),
        ratios=floats(episodes, steps),
        proximal=floats(episodes, steps),
        advantages=floats(episodes, steps),
        targets=floats(episodes, steps),
        gradient=floats(n_parameters(actor) + n_parameters(critic)),
        actor_all=make_workspace(actor, table, episodes if gru else 0, gradient=False),
        critic_all=make_workspace(critic, table, episodes if gru else 0, gradient=False),
        actor=make_workspace(actor, samples, sequences if gru else 0),
        critic=make_workspace(critic, samples, sequences if gru else 0),
    )


@jit_part
def _objective(
    actor: Shape,
    actions: NDArray[np.uint8],  # [episodes, steps]
    chunk: NDArray[np.int32],  # [n], the sequences of the minibatch
    n_steps: int,
    length: int,  # steps of a sequence
    n_valid: int,  # samples that lie inside their episode
    s: Settings,
    scratch: Scratch,
    d_logits: Floats,  # [length * n, actions], out
    d_values: Floats,  # [length * n, 1], out
) -> Scalar:
    """Gradient of the loss of one minibatch by the networks' outputs; returns the first five of HEALTH.

    The loss is ``ppo_torch.objective``, written out by hand: with p the new policy, A the advantage, w the
    truncated importance weight and H the entropy, per sample

        d(-min(r w A, clip(r) w A)) / d log p(a) = -r w A, or 0 where clipping made the objective flat
        d log p(a) / d logit_j = [j = a] - p_j,   dH / d logit_j = -p_j (log p_j + H)
    """
    n, n_actions = chunk.shape[0], actor.n_out
    per_episode = (n_steps + length - 1) // length
    p = np.zeros(n_actions, dtype=np.float32)
    log_p = np.zeros(n_actions, dtype=np.float32)
    sums = np.zeros(5, dtype=np.float64)
    share = np.float32(1.0 / n_valid)
    low, high = np.float32(1.0 - s.clip), np.float32(1.0 + s.clip)
    for b in range(n):
        e, first = chunk[b] // per_episode, (chunk[b] % per_episode) * length
        for k in range(length):
            t, i = first + k, k * n + b
            if t >= n_steps:  # the last sequence of an episode may be shorter
                d_logits[i] = 0.0
                d_values[i, 0] = 0.0
                continue
            action = actions[e, t]
            top, total = softmax_part(scratch.actor.out, i, 0, n_actions, p)
            log_total = np.float32(math.log(total))
            for j in range(n_actions):
                p[j] /= total
                log_p[j] = scratch.actor.out[i, j] - top - log_total
            entropy = np.float32(0.0)
            for j in range(n_actions):  # sums and stores apart: see kernels/compile.py
                entropy -= p[j] * log_p[j]
            change = log_p[action] - scratch.proximal[e, t]
            ratio = np.float32(math.exp(change))
            importance = scratch.ratios[e, t]
            gain = (importance if importance < _MAX_WEIGHT else _MAX_WEIGHT) * scratch.advantages[e, t]
            # Flatness is decided by the ratio: comparing the two products of the minimum would be decided by
            # rounding wherever the ratio is inside the clip range.
            flat = ratio > high if gain > 0.0 else ratio < low
            slope = np.float32(0.0) if flat else -ratio * gain * share
            spread = np.float32(s.entropy) * share
            for j in range(n_actions):
                d_logits[i, j] = spread * p[j] * (log_p[j] + entropy) - slope * p[j]
            d_logits[i, action] += slope
            error = scratch.critic.out[i, 0] - scratch.targets[e, t]
            d_values[i, 0] = np.float32(s.value_coefficient) * error * share
            clipped = high if ratio > high else (low if ratio < low else ratio)
            sums[0] -= min(ratio * gain, clipped * gain)
            sums[1] += 0.5 * error * error
            sums[2] += entropy
            sums[3] += (ratio - 1.0) - change  # Schulman, "Approximating KL divergence", k3
            sums[4] += clipped != ratio
    return sums / n_valid


@jit
def update_agent(
    actor: Shape,
    critic: Shape,
    n_actor: int,  # parameters of the actor, the first ones of the row
    parameters: Floats,  # [parameters], in place
    adam_m: Floats,  # [parameters], in place
    adam_v: Floats,  # [parameters], in place
    adam_steps: int,  # steps of the optimiser before this update
    observations: NDArray[np.uint8],  # [episodes, steps + 1, bytes]
    actions: NDArray[np.uint8],  # [episodes, steps]
    rewards: Floats,  # [episodes, steps]
    log_probs: Floats,  # [episodes, steps], of the behaviour policy
    terminated: NDArray[np.uint8],  # [episodes]
    lagged: bool,  # whether any of it comes from an older version than the present one
    s: Settings,
    learning_rate: float,
    seed: Scalar,  # 64 bits, of the order of minibatches
    scratch: Scratch,
    health: NDArray[np.float64],  # [len(HEALTH)], out
) -> int:
    """Update one agent's actor and critic; returns the optimiser's steps so far."""
    n_episodes, n_steps = actions.shape
    table_steps = n_steps + 1
    n_actions = actor.n_out
    p_actor, p_critic = parameters[:n_actor], parameters[n_actor:]
    g_actor, g_critic = scratch.gradient[:n_actor], scratch.gradient[n_actor:]
    indices, counts = scratch.indices, scratch.counts
    packed = observations.reshape((n_episodes * table_steps, observations.shape[2]))
    unpack_active(packed, actor.n_in, indices, counts)
    weights = np.zeros(n_actions, dtype=np.float32)

    # Values of every observation and, where they are needed, the present policy's log-probabilities and the
    # hidden states at the start of each sequence: one pass over whole episodes, time-major.
    all_rows = np.zeros(n_episodes * table_steps, dtype=np.int32)
    for t in range(table_steps):
        for e in range(n_episodes):
            all_rows[t * n_episodes + e] = e * table_steps + t
    if critic.kind == GRU:
        scratch.critic_all.hidden[:n_episodes] = 0.0
        scratch.actor_all.hidden[:n_episodes] = 0.0
    prepare(critic, p_critic, scratch.critic_all)
    forward(critic, p_critic, indices, counts, all_rows, table_steps, n_episodes, scratch.critic_all)
    for t in range(table_steps):
        for e in range(n_episodes):
            scratch.values[e, t] = scratch.critic_all.out[t * n_episodes + e, 0]
    if lagged or actor.kind == GRU:
        prepare(actor, p_actor, scratch.actor_all)
        forward(actor, p_actor, indices, counts, all_rows, table_steps, n_episodes, scratch.actor_all)
    for e in range(n_episodes):
        for t in range(n_steps):
            scratch.proximal[e, t] = log_probs[e, t]
            scratch.ratios[e, t] = 1.0
            if lagged:
                row = t * n_episodes + e
                top, total = softmax_part(scratch.actor_all.out, row, 0, n_actions, weights)
                log_prob = scratch.actor_all.out[row, actions[e, t]] - top - math.log(total)
                scratch.proximal[e, t] = log_prob
                scratch.ratios[e, t] = math.exp(log_prob - log_probs[e, t])

    value_targets(
        rewards,
        scratch.values,
        terminated,
        scratch.ratios,
        s.gamma,
        s.lam,
        scratch.advantages,
        scratch.targets,
    )
    health[6] = _explained_variance(scratch.values, scratch.targets)
    normalise(scratch.advantages)

    length = s.sequence_steps  # 1 for an MLP: every step is a sequence of its own
    per_episode = (n_steps + length - 1) // length
    n_sequences = n_episodes * per_episode
    per_minibatch = max(1, s.minibatch_steps // length)
    rows = np.zeros(per_minibatch * length, dtype=np.int32)
    d_logits = np.zeros((per_minibatch * length, n_actions), dtype=np.float32)
    d_values = np.zeros((per_minibatch * length, 1), dtype=np.float32)
    order = np.arange(n_sequences).astype(np.int32)
    stream = np.zeros(1, dtype=np.uint64)
    stream[0] = seed
    health[:6] = 0.0
    n_minibatches = 0
    for _ in range(s.epochs):
        shuffle(order, stream)
        for start in range(0, n_sequences, per_minibatch):
            chunk = order[start : start + per_minibatch]
            n = chunk.shape[0]
            n_valid = 0
            for b in range(n):
                e, first = chunk[b] // per_episode, (chunk[b] % per_episode) * length
                for k in range(length):
                    t = first + k
                    n_valid += t < n_steps
                    rows[k * n + b] = e * table_steps + min(t, n_steps)
                if actor.kind == GRU:
                    scratch.actor.hidden[b] = scratch.actor_all.hidden[first * n_episodes + e]
                    scratch.critic.hidden[b] = scratch.critic_all.hidden[first * n_episodes + e]
            prepare(actor, p_actor, scratch.actor)
            prepare(critic, p_critic, scratch.critic)
            forward(actor, p_actor, indices, counts, rows, length, n, scratch.actor)
            forward(critic, p_critic, indices, counts, rows, length, n, scratch.critic)
            health[:5] += _objective(
                actor, actions, chunk, n_steps, length, n_valid, s, scratch, d_logits, d_values
            )
            size = n * length
            backward(
                actor, p_actor, indices, counts, rows, length, n, scratch.actor, d_logits[:size], g_actor
            )
            backward(
                critic, p_critic, indices, counts, rows, length, n, scratch.critic, d_values[:size], g_critic
            )
            adam_steps += 1
            health[5] += adam_step(
                parameters,
                adam_m,
                adam_v,
                adam_steps,
                learning_rate,
                s.adam_epsilon,
                scratch.gradient,
                s.max_gradient_norm,
            )
            n_minibatches += 1
    health[:6] /= n_minibatches
    return adam_steps


@jit
def _explained_variance(values: Floats, targets: Floats) -> Scalar:
    errors = targets - values[:, : targets.shape[1]]
    return 1.0 - errors.var() / (targets.var() + 1e-8)
