"""The fast functions inside kernels: accurate over their range, honest about NaN."""

from collections.abc import Callable

import numpy as np
import pytest

from .compiled import exp_each, log_each, sigmoid_each, tanh_each, tanh_in

Function = Callable[[np.ndarray, np.ndarray], None]


def apply(function: Function, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float32)
    out = np.zeros_like(x)
    function(x, out)
    return out


def everywhere(low: float, high: float) -> np.ndarray:
    """Float32 numbers on a grid and, denser, around 0."""
    grid = np.linspace(low, high, 200_001)
    return np.concatenate([grid, grid * 1e-3, grid * 1e-7]).astype(np.float32)


def test_tanh_is_within_5e7_of_the_truth() -> None:
    x = everywhere(-20, 20)
    error = np.abs(apply(tanh_each, x) - np.tanh(x.astype(np.float64)))
    assert error.max() < 5e-7


@pytest.mark.parametrize("columns", [0, 1, 15, 16, 17, 64, 81])
def test_tanh_of_a_matrix_has_the_bits_of_that_of_its_elements(columns: int) -> None:
    x = np.random.default_rng(columns).normal(0, 3, (5, 96)).astype(np.float32)
    x[1, 0] = np.nan
    before = x.copy()
    tanh_in(x, 3, columns)
    expected = apply(tanh_each, before[:3, :columns].reshape(-1)).reshape(3, columns)
    assert np.array_equal(x[:3, :columns], expected, equal_nan=True)
    assert np.array_equal(x[:3, columns:], before[:3, columns:], equal_nan=True)  # and nothing else changes
    assert np.array_equal(x[3:], before[3:])


def test_tanh_is_odd_and_proportional_to_small_numbers() -> None:
    x = np.logspace(-30, 0, 1000)
    assert np.array_equal(apply(tanh_each, -x), -apply(tanh_each, x))
    np.testing.assert_allclose(apply(tanh_each, x), np.tanh(x), rtol=1e-6)


def test_the_logistic_function_is_within_5e7_of_the_truth() -> None:
    x = everywhere(-40, 40)
    error = np.abs(apply(sigmoid_each, x) - 1 / (1 + np.exp(-x.astype(np.float64))))
    assert error.max() < 5e-7


def test_exp_has_a_relative_error_below_2e7() -> None:
    x = everywhere(-87, 88)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(apply(exp_each, x) - exact) / exact).max() < 2e-7


def test_log_is_within_2e7_of_the_truth_absolutely_or_relatively() -> None:
    x = np.exp(everywhere(-87, 88).astype(np.float64)).astype(np.float32)
    exact = np.log(x.astype(np.float64))
    error = np.abs(apply(log_each, x) - exact) / np.maximum(1, np.abs(exact))
    assert error.max() < 2e-7
    near_one = x[(x > 0.7) & (x < 1.4) & (x != 1)]
    exact = np.log(near_one.astype(np.float64))
    assert (np.abs(apply(log_each, near_one) - exact) / np.abs(exact)).max() < 4e-7


def test_log_of_one_is_exactly_zero() -> None:
    assert apply(log_each, np.ones(1)).tolist() == [0.0]


def test_exp_of_zero_is_exactly_one() -> None:
    assert apply(exp_each, np.zeros(1)).tolist() == [1.0]


def test_exp_stays_positive_and_finite_outside_its_range() -> None:
    """A class of probability 0 would have an infinite log-probability."""
    low, high = (
        apply(exp_each, np.array([-87, -88, -1e10, -np.inf])),
        apply(exp_each, np.array([88, 1e10, np.inf])),
    )
    assert (low == low[0]).all()
    assert (high == high[0]).all()
    assert low[0] == pytest.approx(np.exp(-87))
    assert high[0] == pytest.approx(np.exp(88))


@pytest.mark.parametrize("function", [tanh_each, sigmoid_each, exp_each])
def test_nan_stays_nan(function: Function) -> None:
    """Else a network that diverged would go on with plausible numbers."""
    out = apply(function, np.array([0.5, np.nan, -0.5]))
    assert np.isnan(out).tolist() == [False, True, False]


@pytest.mark.parametrize(("function", "low"), [(tanh_each, -1.0), (sigmoid_each, 0.0)])
def test_infinite_inputs_saturate(function: Function, low: float) -> None:
    np.testing.assert_allclose(apply(function, np.array([-np.inf, np.inf])), [low, 1.0], atol=5e-7)
