"""Independent PPO, one agent at a time, compiled: the whole update from experience to new weights.

Reads from top to bottom: table of observations, values, targets, then epochs of minibatches. The objective
is the decoupled one (Hilton et al., 2022, eq. 2): experience comes from a behaviour policy that may be up to
``max_policy_lag`` versions old, the ratio that is clipped is taken to the policy at the start of the update
(proximal), and the behaviour policy enters as a truncated importance weight. At lag 0 both are one
version, every weight is 1, and this is PPO as in Schulman et al. (2017).

``dials_async.learning.ppo_torch`` is the same update in torch: the readable definition, and the oracle
that this kernel is tested against.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import fill_table, take_lists
from dials_async.kernels.compile import Scalar, jit, jit_part, jit_part_with_arrays
from dials_async.kernels.functions import exp
from dials_async.kernels.rng import shuffle
from dials_async.learning.objective import Experience, policy_gradient, value_gradient, weigh
from dials_async.learning.returns import moments, normalise, value_targets
from dials_async.learning.scratch import Scratch
from dials_async.learning.settings import Settings
from dials_async.networks.adam import adam_step
from dials_async.networks.layout import GRU, Shape, Workspace
from dials_async.networks.network import backward, clear_hidden, forward, prepare
from dials_async.networks.sampling import softmax

Floats = NDArray[np.float32]


@jit_part_with_arrays
def _outputs(
    s: Shape,
    p: Floats,
    scratch: Scratch,  # with the table
    n_episodes: int,
    table_steps: int,
    whole: Workspace,  # of whole episodes; for a GRU it keeps the hidden states
    part: Workspace,  # of a minibatch
    out: Floats,  # [episodes * table steps, at least n_out], out
) -> None:
    """Outputs for every observation of the table: in one pass over time for a GRU, in parts for an MLP."""
    n = n_episodes * table_steps
    rows = np.arange(n).astype(np.int32)
    if s.kind == GRU:
        for t in range(table_steps):
            for e in range(n_episodes):
                rows[t * n_episodes + e] = e * table_steps + t
        indices = np.zeros((n, scratch.indices.shape[1]), dtype=np.int16)
        counts = np.zeros(n, dtype=np.int32)
        take_lists(scratch.entries, scratch.starts, rows, n, indices, counts)
        clear_hidden(s, n_episodes, whole)
        prepare(s, p, whole)
        forward(s, indices, counts, table_steps, n_episodes, whole)
        for i in range(n):
            for k in range(s.n_out):
                out[rows[i], k] = whole.out[i, k]
        return
    prepare(s, p, part)
    size = part.out.shape[0]
    for start in range(0, n, size):
        n_part = min(size, n - start)
        take_lists(scratch.entries, scratch.starts, rows[start:], n_part, scratch.indices, scratch.counts)
        forward(s, scratch.indices, scratch.counts, 1, n_part, part)
        for i in range(n_part):
            for k in range(s.n_out):
                out[start + i, k] = part.out[i, k]


@jit_part_with_arrays
def _correct_for_lag(
    logits: Floats,  # [episodes * (steps + 1), actions, padded], of the present policy, in place
    actions: NDArray[np.uint8],  # [episodes, steps]
    log_probs: Floats,  # [episodes, steps], of the behaviour policy
    n_actions: int,
    proximal: Floats,  # [episodes, steps], out
    ratios: Floats,  # [episodes, steps], out
) -> None:
    """Log-probabilities under the present policy, and the ratio to the one that acted."""
    n_episodes, n_steps = actions.shape
    log_totals = np.zeros((logits.shape[0], 1), dtype=np.float32)
    softmax(logits, logits.shape[0], 1, n_actions, np.zeros_like(logits), log_totals)
    for e in range(n_episodes):
        for t in range(n_steps):
            row = e * (n_steps + 1) + t
            proximal[e, t] = logits[row, actions[e, t]] - log_totals[row, 0]
            ratios[e, t] = exp(proximal[e, t] - log_probs[e, t])


@jit_part
def _take_hidden(
    s: Shape,
    order: NDArray[np.int32],  # [sequences]
    start: int,  # the minibatch has the sequences order[start : start + n]
    n: int,
    per_episode: int,  # sequences
    length: int,  # steps of a sequence
    n_episodes: int,
    whole: Workspace,  # of all episodes
    part: Workspace,  # of the minibatch; its hidden states before the first step, out
) -> None:
    """The hidden states, under the network before the update, with which the sequences begin."""
    if s.kind != GRU:
        return
    for b in range(n):
        sequence = order[start + b]
        row = (sequence % per_episode) * length * n_episodes + sequence // per_episode
        for k in range(s.h2):
            part.hidden[b, k] = whole.hidden[row, k]


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
    p_actor, p_critic = parameters[:n_actor], parameters[n_actor:]
    g_actor, g_critic = scratch.gradient[:n_actor], scratch.gradient[n_actor:]
    packed = observations.reshape((n_episodes * table_steps, observations.shape[2]))
    fill_table(packed, actor.n_in, actor.ladder_from, actor.ladder_steps, scratch.entries, scratch.starts)

    # Values of every observation and, where they are needed, the present policy's log-probabilities and the
    # hidden states at the start of each sequence.
    values = scratch.values.reshape((n_episodes * table_steps, 1))
    _outputs(critic, p_critic, scratch, n_episodes, table_steps, scratch.critic_all, scratch.critic, values)
    for e in range(n_episodes):
        for t in range(n_steps):
            scratch.proximal[e, t] = log_probs[e, t]
            scratch.ratios[e, t] = 1.0
    if lagged or actor.kind == GRU:
        logits = np.zeros((n_episodes * table_steps, scratch.actor.out.shape[1]), dtype=np.float32)
        _outputs(actor, p_actor, scratch, n_episodes, table_steps, scratch.actor_all, scratch.actor, logits)
        if lagged:
            _correct_for_lag(logits, actions, log_probs, actor.n_out, scratch.proximal, scratch.ratios)

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

    experience = Experience(
        actions.reshape(actions.size),
        scratch.proximal.reshape(actions.size),
        scratch.ratios.reshape(actions.size),
        scratch.advantages.reshape(actions.size),
        scratch.targets.reshape(actions.size),
    )
    length = s.sequence_steps  # 1 for an MLP: every step is a sequence of its own
    order = np.arange(n_episodes * ((n_steps + length - 1) // length)).astype(np.int32)
    rows = np.zeros(scratch.minibatch.places.shape[0], dtype=np.int32)
    stream = np.zeros(1, dtype=np.uint64)
    stream[0] = seed
    for k in range(6):
        health[k] = 0.0
    n_minibatches = 0
    for _ in range(s.epochs):
        shuffle(order, stream)
        n_minibatches += _epoch(
            actor,
            critic,
            p_actor,
            p_critic,
            parameters,
            adam_m,
            adam_v,
            adam_steps + n_minibatches,
            n_episodes,
            n_steps,
            order,
            experience,
            s,
            learning_rate,
            scratch,
            g_actor,
            g_critic,
            rows,
            health,
        )
    for k in range(6):
        health[k] /= n_minibatches
    return adam_steps + n_minibatches


@jit_part
def _epoch(
    actor: Shape,
    critic: Shape,
    p_actor: Floats,  # the actor's part of the parameters
    p_critic: Floats,
    parameters: Floats,  # [parameters], in place
    adam_m: Floats,  # [parameters], in place
    adam_v: Floats,  # [parameters], in place
    adam_steps: int,  # so far
    n_episodes: int,
    n_steps: int,
    order: NDArray[np.int32],  # [sequences]
    experience: Experience,
    s: Settings,
    learning_rate: float,
    scratch: Scratch,
    g_actor: Floats,  # the actor's part of ``scratch.gradient``
    g_critic: Floats,
    rows: NDArray[np.int32],  # [samples of a minibatch], scratch
    health: NDArray[np.float64],  # added to
) -> int:
    """Train once on every sequence, minibatch after minibatch in ``order``; returns how many minibatches."""
    length = s.sequence_steps
    table_steps, per_episode = n_steps + 1, (n_steps + length - 1) // length
    per_minibatch = max(1, s.minibatch_steps // length)
    indices, counts, places = scratch.indices, scratch.counts, scratch.minibatch.places
    n_minibatches = 0
    for start in range(0, order.shape[0], per_minibatch):
        n = min(per_minibatch, order.shape[0] - start)
        for b in range(n):
            sequence = order[start + b]
            e, first = sequence // per_episode, (sequence % per_episode) * length
            for k in range(length):
                t = first + k
                rows[k * n + b] = e * table_steps + min(t, n_steps)
                places[k * n + b] = e * n_steps + t if t < n_steps else -1
        size = n * length
        weigh(size, scratch.minibatch)
        take_lists(scratch.entries, scratch.starts, rows, size, indices, counts)
        # One network after the other: they share their scratch, which then stays in the cache.
        prepare(critic, p_critic, scratch.critic)
        _take_hidden(
            critic, order, start, n, per_episode, length, n_episodes, scratch.critic_all, scratch.critic
        )
        forward(critic, indices, counts, length, n, scratch.critic)
        value_gradient(
            scratch.critic.out, size, experience, s, scratch.minibatch, scratch.critic.d_out, health
        )
        backward(critic, indices, counts, length, n, scratch.critic, g_critic)
        prepare(actor, p_actor, scratch.actor)
        _take_hidden(
            actor, order, start, n, per_episode, length, n_episodes, scratch.actor_all, scratch.actor
        )
        forward(actor, indices, counts, length, n, scratch.actor)
        policy_gradient(
            scratch.actor.out, size, experience, s, scratch.minibatch, scratch.actor.d_out, health
        )
        backward(actor, indices, counts, length, n, scratch.actor, g_actor)
        n_minibatches += 1
        health[5] += adam_step(
            parameters,
            adam_m,
            adam_v,
            adam_steps + n_minibatches,
            learning_rate,
            s.adam_epsilon,
            scratch.gradient,
            s.max_gradient_norm,
        )
    return n_minibatches


@jit_part_with_arrays
def _explained_variance(values: Floats, targets: Floats) -> Scalar:
    """1 - variance of the errors / variance of the targets; values [episodes, steps + 1]."""
    errors = np.zeros_like(targets)
    for e in range(targets.shape[0]):
        for t in range(targets.shape[1]):
            errors[e, t] = targets[e, t] - values[e, t]
    return 1.0 - moments(errors)[1] / (moments(targets)[1] + 1e-8)
