"""Value targets and advantages: by hand, as GAE, and as the correction for old experience defines them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.learning.returns import normalise, value_targets

unit = st.floats(0, 1, width=32)


def targets(
    rewards: list[list[float]],
    values: list[list[float]],
    terminated: list[int],
    ratios: list[list[float]],
    gamma: float,
    lam: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(targets, advantages), both [episodes, steps]."""
    r, v, rho = (np.array(array, dtype=np.float32) for array in (rewards, values, ratios))
    advantages, out = np.full_like(r, np.nan), np.full_like(r, np.nan)
    value_targets(r, v, np.array(terminated, dtype=np.uint8), rho, gamma, lam, advantages, out)
    return out, advantages


# ---- By hand: gamma = lambda = 1/2, rewards 1 and 2, values 4, 2, and 8 for the last observation -----------


def test_a_truncated_episode_bootstraps_from_its_last_observation() -> None:
    found, advantages = targets([[1, 2]], [[4, 2, 8]], [0], [[1, 1]], 0.5, 0.5)
    delta_1 = 2 + 0.5 * 8 - 2  # 4
    delta_0 = 1 + 0.5 * 2 - 4  # -2
    assert advantages.tolist() == [[delta_0 + 0.25 * delta_1, delta_1]] == [[-1, 4]]
    assert found.tolist() == [[4 - 1, 2 + 4]]


def test_a_terminated_episode_is_worth_nothing_after_its_end() -> None:
    found, advantages = targets([[1, 2]], [[4, 2, 8]], [1], [[1, 1]], 0.5, 0.5)
    delta_1 = 2 + 0.5 * 0 - 2  # 0
    delta_0 = 1 + 0.5 * 2 - 4  # -2: the step before the last bootstraps as ever
    assert advantages.tolist() == [[delta_0 + 0.25 * delta_1, delta_1]] == [[-2, 0]]
    assert found.tolist() == [[2, 2]]


def test_old_experience_counts_by_its_ratio_at_most_once() -> None:
    found, advantages = targets([[1, 2]], [[4, 2, 8]], [0], [[0.5, 0.25]], 0.5, 0.5)
    x_1 = 0.25 * 4  # rho_1 delta_1
    x_0 = 0.5 * (-2 + 0.25 * x_1)  # rho_0 delta_0 + gamma lambda c_0 x_1
    assert found.tolist() == [[4 + x_0, 2 + x_1]] == [[3.125, 3]]
    # The advantage of a step does not carry the ratio of its own action: the objective does
    assert advantages.tolist() == [[-2 + 0.25 * x_1, 4]] == [[-1.75, 4]]


def test_episodes_do_not_leak_into_each_other() -> None:
    both, _ = targets([[1, 2], [9, 9]], [[4, 2, 8], [7, 7, 7]], [0, 1], [[1, 1], [3, 3]], 0.5, 0.5)
    alone, _ = targets([[1, 2]], [[4, 2, 8]], [0], [[1, 1]], 0.5, 0.5)
    assert both[0].tolist() == alone[0].tolist()


# ---- Against plain Python ---------------------------------------------------------------------------------


class Batch:
    """Random experience of a few episodes."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n, steps = rng.integers(1, 4), rng.integers(1, 12)
        self.rewards = rng.uniform(-2, 2, (n, steps)).astype(np.float32)
        self.values = rng.uniform(-5, 5, (n, steps + 1)).astype(np.float32)
        self.terminated = rng.integers(0, 2, n)
        self.ratios = np.exp(rng.normal(0, 1, (n, steps))).astype(np.float32)
        self.n, self.steps = n, steps

    def deltas(self, episode: int, gamma: float) -> list[float]:
        v = [float(value) for value in self.values[episode]]
        if self.terminated[episode]:
            v[-1] = 0.0
        return [float(r) + gamma * v[t + 1] - v[t] for t, r in enumerate(self.rewards[episode])]

    def compiled(self, ratios: np.ndarray, gamma: float, lam: float) -> tuple[np.ndarray, np.ndarray]:
        arguments = self.rewards.tolist(), self.values.tolist(), self.terminated.tolist(), ratios.tolist()
        return targets(*arguments, gamma, lam)


@given(st.integers(0, 2**32 - 1), unit, unit)
def test_at_ratio_one_the_advantages_are_those_of_gae(seed: int, gamma: float, lam: float) -> None:
    """Schulman et al. (2016), equation 16: the sum over l of (gamma lambda)^l delta_{t+l}."""
    batch = Batch(seed)
    found, advantages = batch.compiled(np.ones_like(batch.ratios), gamma, lam)
    for episode in range(batch.n):
        deltas = batch.deltas(episode, gamma)
        for t in range(batch.steps):
            gae = sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, batch.steps))
            assert advantages[episode, t] == pytest.approx(gae, abs=2e-5)
            assert found[episode, t] == pytest.approx(float(batch.values[episode, t]) + gae, abs=2e-5)


@given(st.integers(0, 2**32 - 1), unit, unit)
def test_at_other_ratios_the_targets_are_those_of_v_trace_with_lambda(
    seed: int, gamma: float, lam: float
) -> None:
    """Espeholt et al. (2018), equation 1, with rho = c = min(1, ratio) and lambda.

    v_t + the sum over k of (gamma lambda)^{k-t} (c_t ... c_{k-1}) rho_k delta_k.
    """
    batch = Batch(seed)
    found, advantages = batch.compiled(batch.ratios, gamma, lam)
    for episode in range(batch.n):
        deltas = batch.deltas(episode, gamma)
        rho = [min(1.0, float(ratio)) for ratio in batch.ratios[episode]]
        corrections = []
        for t in range(batch.steps):
            total = 0.0
            for k in range(t, batch.steps):
                total += (gamma * lam) ** (k - t) * math.prod(rho[t:k]) * rho[k] * deltas[k]
            corrections.append(total)
            assert found[episode, t] == pytest.approx(float(batch.values[episode, t]) + total, abs=2e-5)
        for t, following in enumerate([*corrections[1:], 0.0]):
            assert advantages[episode, t] == pytest.approx(deltas[t] + gamma * lam * following, abs=2e-5)


@given(st.integers(0, 2**32 - 1))
def test_ratios_above_one_count_as_one_exactly(seed: int) -> None:
    batch = Batch(seed)
    large = batch.compiled(1 + batch.ratios, 0.95, 0.8)
    assert all(map(np.array_equal, large, batch.compiled(np.ones_like(batch.ratios), 0.95, 0.8)))


@given(st.integers(0, 2**32 - 1))
def test_a_ratio_of_zero_stops_what_came_after(seed: int) -> None:
    batch = Batch(seed)
    found, _ = batch.compiled(np.zeros_like(batch.ratios), 0.95, 0.8)
    assert np.array_equal(found, batch.values[:, :-1])


# ---- Normalisation ----------------------------------------------------------------------------------------


def test_normalised_advantages_have_mean_0_and_deviation_1() -> None:
    x = np.random.default_rng(0).normal(30, 7, (5, 100)).astype(np.float32)
    before = x.copy()
    normalise(x)
    assert abs(x.mean()) < 1e-5
    assert x.std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(x, (before - before.mean()) / before.std(), atol=1e-4)


def test_equal_advantages_become_zero_not_nan() -> None:
    x = np.full((2, 3), 0.5, dtype=np.float32)
    normalise(x)
    assert x.tolist() == [[0, 0, 0], [0, 0, 0]]
