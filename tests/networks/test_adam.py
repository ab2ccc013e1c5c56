"""The compiled Adam against torch's."""

import numpy as np
import pytest
import torch

from .compiled import adam

RATE, EPSILON = 3e-3, 1e-5


def gradients(seed: int, n: int, size: int) -> np.ndarray:
    """Of very different lengths, so that some are clipped and some are not; [n, size]."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, size)) * 10.0 ** rng.uniform(-4, 1, (n, 1))).astype(np.float32)


@pytest.mark.parametrize("limit", [0.5, 1e9])
def test_thirty_steps_equal_those_of_torch_with_clipping(limit: float) -> None:
    # Given a sequence of gradients
    size, sequence = 50, gradients(0, 30, 50)
    norms = np.linalg.norm(sequence.astype(np.float64), axis=1)
    assert limit > 1e6 or ((norms > limit).any() and (norms < limit).any())
    start = np.random.default_rng(1).normal(size=size).astype(np.float32)
    theta = torch.from_numpy(start.astype(np.float64)).requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=RATE, eps=EPSILON)
    ours, m, v = start.copy(), np.zeros(size, np.float32), np.zeros(size, np.float32)
    for step, gradient in enumerate(sequence, start=1):
        # When both make a step
        norm = adam(ours, m, v, step, RATE, EPSILON, gradient, limit)
        theta.grad = torch.from_numpy(gradient.astype(np.float64))
        torch.nn.utils.clip_grad_norm_([theta], limit)
        optimiser.step()
        # Then the parameters agree, and what is reported is the norm before clipping
        np.testing.assert_allclose(ours, theta.detach().numpy(), atol=2e-6)
        assert norm == pytest.approx(norms[step - 1], rel=1e-5)
    assert np.abs(ours - start).max() > 10 * RATE


def test_the_moments_are_those_of_torch() -> None:
    size, sequence = 20, gradients(2, 5, 20)
    theta = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=RATE, eps=EPSILON)
    ours, m, v = (np.zeros(size, np.float32) for _ in range(3))
    for step, gradient in enumerate(sequence, start=1):
        adam(ours, m, v, step, RATE, EPSILON, gradient, 1e9)
        theta.grad = torch.from_numpy(gradient.astype(np.float64))
        optimiser.step()
    state = optimiser.state[theta]
    np.testing.assert_allclose(m, state["exp_avg"].numpy(), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(v, state["exp_avg_sq"].numpy(), rtol=1e-4, atol=1e-12)


def test_a_gradient_that_is_not_a_number_reaches_the_parameters() -> None:
    """The learner checks its weights after each update; clipping must not hide the damage."""
    ours, m, v = (np.zeros(3, np.float32) for _ in range(3))
    norm = adam(ours, m, v, 1, RATE, EPSILON, np.array([1, np.nan, 1], np.float32), 0.5)
    assert np.isnan(norm)
    assert np.isnan(ours[1])
