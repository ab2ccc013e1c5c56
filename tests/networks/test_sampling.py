"""Choosing from logits: right frequencies, right log-probabilities, greedy where asked."""

import numpy as np
import pytest
from scipy.stats import chi2

from dials_async.kernels.bits import pack
from dials_async.kernels.rng import stream_seeds
from dials_async.networks.acting import act, make_memory, sample_influence
from dials_async.networks.layout import MLP, Shape, n_parameters, split

from .compiled import softmax_rows

#: Chance that a test of frequencies would fail for a perfect sampler under a fresh seed.
FALSE_ALARM = 1e-6

#: So far apart no processor's vectorised loop would take two arrays for overlapping ones.
FAR = 4096

LOGITS = np.array([0.5, -1.0, 2.0, -3.0], dtype=np.float32)


def constant_network(logits: np.ndarray) -> tuple[Shape, np.ndarray]:
    """A network whose outputs are ``logits`` whatever it sees."""
    shape = Shape(MLP, 5, 3, 0, len(logits), 0)
    parameters = np.zeros(n_parameters(shape), dtype=np.float32)
    split(shape, parameters)["bo"][:] = logits
    return shape, parameters


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def choose(logits: np.ndarray, n: int, greedy: bool = False, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Actions and log-probabilities of ``n`` environments that see nothing, [n]."""
    shape, parameters = constant_network(logits)
    actions, log_probs = np.zeros((1, n), np.uint8), np.zeros((1, n), np.float32)
    streams = stream_seeds(np.array([seed], np.uint64), n)
    memory = make_memory(shape, 1, n)
    observations = pack(np.zeros((1, n, 5), np.uint8))
    act(shape, parameters[None], observations, streams, greedy, memory, actions, log_probs)
    return actions[0], log_probs[0]


def statistic(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = counts.sum() * probabilities
    return float(((counts - expected) ** 2 / expected).sum())


def test_actions_are_drawn_with_their_probabilities() -> None:
    actions, _ = choose(LOGITS, 100_000)
    found = statistic(np.bincount(actions, minlength=4), softmax(LOGITS))
    assert found < chi2.isf(FALSE_ALARM, 3)


def test_log_probabilities_are_those_of_the_actions_drawn() -> None:
    actions, log_probs = choose(LOGITS, 1000)
    assert set(actions) == {0, 1, 2, 3}
    np.testing.assert_allclose(log_probs, np.log(softmax(LOGITS))[actions], atol=2e-6)


def test_adding_a_constant_to_the_logits_changes_nothing() -> None:
    """Large logits would overflow a naive exponential."""
    actions, log_probs = choose(LOGITS, 1000)
    shifted, shifted_log_probs = choose(LOGITS + 256, 1000)
    assert np.array_equal(actions, shifted)
    np.testing.assert_allclose(log_probs, shifted_log_probs, atol=1e-5)


@pytest.mark.parametrize(("logits", "expected"), [(LOGITS, 2), ([1, 3, 3, 2], 1), ([0, 0, 0, 0], 0)])
def test_greedy_takes_the_likeliest_action_and_the_first_in_a_tie(logits: np.ndarray, expected: int) -> None:
    logits = np.array(logits, dtype=np.float32)
    actions, log_probs = choose(logits, 50, greedy=True)
    assert (actions == expected).all()
    np.testing.assert_allclose(log_probs, np.log(softmax(logits))[expected], atol=2e-6)


def test_an_action_costs_each_stream_one_number_and_greedy_none() -> None:
    """Fused and vectorised rollouts agree only while both draw in the same order."""
    shape, parameters = constant_network(LOGITS)
    before = stream_seeds(np.array([3], np.uint64), 4)
    for greedy, expected in ((True, before), (False, before + np.uint64(0x9E3779B97F4A7C15))):
        streams = before.copy()
        observations = pack(np.zeros((1, 4, 5), np.uint8))
        out = np.zeros((1, 4), np.uint8), np.zeros((1, 4), np.float32)
        act(shape, parameters[None], observations, streams, greedy, make_memory(shape, 1, 4), *out)
        assert np.array_equal(streams, expected)


def test_each_agent_acts_by_its_own_network() -> None:
    shape, first = constant_network(np.array([9, 0, 0, 0], np.float32))
    _, second = constant_network(np.array([0, 0, 0, 9], np.float32))
    actions, log_probs = np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.float32)
    observations = pack(np.zeros((2, 3, 5), np.uint8))
    streams = stream_seeds(np.array([1, 2], np.uint64), 3)
    parameters = np.stack([first, second])
    act(shape, parameters, observations, streams, True, make_memory(shape, 2, 3), actions, log_probs)
    assert actions.tolist() == [[0, 0, 0], [3, 3, 3]]


def test_every_influence_source_is_drawn_from_its_own_classes_and_by_itself() -> None:
    # Given an AIP of two sources with three classes each
    n, logits = 100_000, np.array([1, 0, -1, -2, 0, 2], dtype=np.float32)
    shape, parameters = constant_network(logits)
    influence = np.full((1, n, 2), 9, dtype=np.uint8)
    streams = stream_seeds(np.array([5], np.uint64), n)
    observations = pack(np.zeros((1, n, 5), np.uint8))
    # When both are drawn many times
    sample_influence(shape, 3, parameters[None], observations, streams, make_memory(shape, 1, n), influence)
    # Then each pair of classes is as frequent as the product of their probabilities
    joint = np.outer(softmax(logits[:3]), softmax(logits[3:])).ravel()
    counts = np.bincount(3 * influence[0, :, 0] + influence[0, :, 1], minlength=9)
    assert len(counts) == 9
    assert statistic(counts, joint) < chi2.isf(FALSE_ALARM, 8)


def test_an_aip_reads_the_first_bits_of_the_observation_alone() -> None:
    """The d-set is the first part; item ages, which follow, must not reach the AIP."""
    n, shape = 8, Shape(MLP, 5, 3, 0, 6, 1)
    parameters = np.random.default_rng(0).normal(0, 2, (1, n_parameters(shape))).astype(np.float32)
    bits = np.random.default_rng(1).integers(0, 2, (1, n, 5), dtype=np.uint8)
    drawn = []
    for further in (0, 1):
        longer = np.concatenate([bits, np.full((1, n, 20), further, np.uint8)], axis=2)
        influence = np.zeros((1, n, 2), dtype=np.uint8)
        streams = stream_seeds(np.array([5], np.uint64), n)
        sample_influence(shape, 3, parameters, pack(longer), streams, make_memory(shape, 1, n), influence)
        drawn.append(influence)
    first, second = drawn
    assert np.array_equal(first, second)


@pytest.mark.parametrize("n", [3, 4, 25, 100])
def test_a_softmax_is_the_same_to_the_bit_wherever_the_arrays_lie_in_memory(n: int) -> None:
    """A vectorised loop that stores guards against overlaps, and gives way to a plain one if in doubt."""
    memory, log_totals = np.zeros(FAR + 2 * n, np.float32), np.zeros((1, 1), np.float32)
    logits = memory[:n].reshape(1, n)
    for values in np.random.default_rng(n).normal(size=(20, n)).astype(np.float32):
        found = set()
        for start in [*range(n, n + 200), FAR]:
            logits[:] = values
            weights = memory[start : start + n].reshape(1, n)
            softmax_rows(logits, 1, n, weights, log_totals)
            found.add((weights.tobytes(), log_totals.tobytes()))
        assert len(found) == 1
        np.testing.assert_allclose(np.exp(log_totals[0, 0]), weights.sum(), rtol=1e-6)
        np.testing.assert_allclose(weights[0], np.exp(values - values.max()), rtol=1e-6)
