"""The objective of PPO on one minibatch, compiled: its gradient by the outputs of actor and critic.

It is ``ppo_torch.objective``, written out by hand. With p the new policy, A the advantage, w the truncated
importance weight, r the ratio to the policy at the start of the update and H the entropy, per sample

    d(-min(r w A, clip(r) w A)) / d log p(a) = -r w A, or 0 where clipping made the objective flat
    d log p(a) / d logit_j = [j = a] - p_j,   dH / d logit_j = -p_j (log p_j + H)

Samples stand side by side, [actions, samples], so that every loop runs over samples and vectorises.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.arithmetic import fma
from dials_async.kernels.compile import Scalar, jit_part
from dials_async.kernels.functions import exp, log
from dials_async.learning.settings import Settings

Floats = NDArray[np.float32]

#: Importance weights of old experience are truncated here (bounds the variance of the objective).
MAX_IMPORTANCE_WEIGHT = 2.0

_MAX_WEIGHT = np.float32(MAX_IMPORTANCE_WEIGHT)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class Experience(NamedTuple):
    """What the objective needs of all steps; flat, [episodes * steps]."""

    actions: NDArray[np.uint8]
    proximal: Floats  # log-probabilities under the policy at the start of the update
    ratios: Floats  # of that policy to the one that acted; 1 at lag 0
    advantages: Floats
    targets: Floats


class Minibatch(NamedTuple):
    """Samples of a minibatch, and working memory of the objective; [actions, samples] or [samples]."""

    places: NDArray[np.int32]  # of the sample among all steps; -1 behind the end of an episode
    actions: NDArray[np.int32]
    log_p: Floats  # [actions, samples]
    p: Floats  # [actions, samples]
    d_logits: Floats  # [actions, samples]
    totals: Floats
    entropies: Floats
    changes: Floats  # log of the ratio
    ratios: Floats
    gains: Floats  # truncated importance weight x advantage
    slopes: Floats  # derivative by log p(a)
    shares: Floats  # weight of the sample in the mean; 0 behind the end of an episode


def make_minibatch(n_actions: int, samples: int) -> Minibatch:
    """Working memory for minibatches of at most ``samples``."""
    several = [np.zeros((n_actions, samples), dtype=np.float32) for _ in range(3)]
    single = [np.zeros(samples, dtype=np.float32) for _ in range(7)]
    places, actions = (np.zeros(samples, dtype=np.int32) for _ in range(2))
    return Minibatch(places, actions, *several, *single)


@jit_part
def _log_policy(logits: Floats, n: int, m: Minibatch) -> None:
    """Probabilities, their logarithms and the entropy of the first ``n`` rows of ``logits``."""
    n_actions = m.p.shape[0]
    for j in range(n_actions):
        for i in range(n):
            m.log_p[j, i] = logits[i, j]
    for i in range(n):
        m.totals[i] = m.log_p[0, i]  # the greatest, for now
    for j in range(1, n_actions):
        for i in range(n):
            m.totals[i] = m.log_p[j, i] if m.log_p[j, i] > m.totals[i] else m.totals[i]
    for j in range(n_actions):
        for i in range(n):
            m.log_p[j, i] -= m.totals[i]
            m.p[j, i] = exp(m.log_p[j, i])
    for i in range(n):
        m.totals[i] = m.p[0, i]
        m.entropies[i] = _ZERO
    for j in range(1, n_actions):
        for i in range(n):
            m.totals[i] += m.p[j, i]
    for i in range(n):
        m.changes[i] = log(m.totals[i])
        m.totals[i] = _ONE / m.totals[i]
    for j in range(n_actions):
        for i in range(n):
            m.p[j, i] *= m.totals[i]
            m.log_p[j, i] -= m.changes[i]
            m.entropies[i] = fma(-m.p[j, i], m.log_p[j, i], m.entropies[i])


@jit_part
def weigh(n: int, m: Minibatch) -> None:
    """The weight of each of ``n`` samples, whose places are filled in, in the mean of the minibatch."""
    n_valid = 0
    for i in range(n):
        n_valid += m.places[i] >= 0
    share = np.float32(1.0 / n_valid)
    for i in range(n):  # the last sequence of an episode may be shorter: what is behind weighs nothing
        m.shares[i] = share if m.places[i] >= 0 else _ZERO


@jit_part
def value_gradient(
    values: Floats,  # [n, 1]
    n: int,
    x: Experience,
    s: Settings,
    m: Minibatch,  # weighed
    d_values: Floats,  # [n, 1], out
    health: NDArray[np.float64],  # the loss is added to
) -> None:
    """Gradient of the critic's loss on ``n`` samples by its outputs."""
    weight, loss = np.float32(s.value_coefficient), 0.0
    for i in range(n):
        error = values[i, 0] - x.targets[max(m.places[i], 0)]
        d_values[i, 0] = weight * error * m.shares[i]
        loss += 0.5 * error * error * m.shares[i]
    health[1] += loss


@jit_part
def policy_gradient(
    logits: Floats,  # [n, actions]
    n: int,
    x: Experience,
    s: Settings,
    m: Minibatch,  # weighed; the rest out
    d_logits: Floats,  # [n, actions], out
    health: NDArray[np.float64],  # the first five of HEALTH, without the second, are added to
) -> None:
    """Gradient of the policy's loss, entropy bonus included, on ``n`` samples by the actor's outputs."""
    n_actions = m.p.shape[0]
    _log_policy(logits, n, m)
    for i in range(n):
        place = max(m.places[i], 0)
        weight = x.ratios[place] if x.ratios[place] < _MAX_WEIGHT else _MAX_WEIGHT
        m.actions[i] = x.actions[place]
        m.gains[i] = weight * x.advantages[place]
        m.changes[i] = m.log_p[m.actions[i], i] - x.proximal[place] if m.places[i] >= 0 else _ZERO
    low, high = np.float32(1.0 - s.clip), np.float32(1.0 + s.clip)
    for i in range(n):
        m.ratios[i] = exp(m.changes[i])
    for i in range(n):
        # Flatness is decided by the ratio: comparing the two products of the minimum would be decided by
        # rounding wherever the ratio is inside the clip range.
        ratio, gain = m.ratios[i], m.gains[i]
        flat = ratio > high if gain > _ZERO else ratio < low
        m.slopes[i] = _ZERO if flat else -ratio * gain * m.shares[i]
    entropy_weight = np.float32(s.entropy)
    for j in range(n_actions):
        for i in range(n):
            spread = entropy_weight * m.shares[i] * (m.log_p[j, i] + m.entropies[i])
            m.d_logits[j, i] = m.p[j, i] * (spread - m.slopes[i])
    for i in range(n):
        for j in range(n_actions):
            d_logits[i, j] = m.d_logits[j, i]
        d_logits[i, m.actions[i]] += m.slopes[i]
    _add_health(n, low, high, m, health)


@jit_part
def _add_health(n: int, low: Scalar, high: Scalar, m: Minibatch, health: NDArray[np.float64]) -> None:
    loss, entropy, kl, clipped_share = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        share, ratio, gain = np.float64(m.shares[i]), m.ratios[i], m.gains[i]
        clipped = high if ratio > high else (low if ratio < low else ratio)
        loss -= share * min(ratio * gain, clipped * gain)
        entropy += share * m.entropies[i]
        kl += share * ((ratio - _ONE) - m.changes[i])  # Schulman, "Approximating KL divergence", k3
        clipped_share += share if clipped != ratio else 0.0
    health[0] += loss
    health[2] += entropy
    health[3] += kl
    health[4] += clipped_share
