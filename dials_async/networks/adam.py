"""Adam with global gradient clipping on one flat parameter vector (Kingma and Ba, 2015), compiled."""

import math

import numpy as np

from dials_async.kernels.compile import jit_inline, jit_part
from dials_async.networks.layers import Floats

_BETA_1 = np.float32(0.9)
_BETA_2 = np.float32(0.999)
_ONE = np.float32(1.0)


@jit_inline
def gradient_norm(gradient: Floats) -> float:
    """Euclidean norm of ``gradient`` [parameters]."""
    total = np.float32(0.0)
    for k in range(gradient.shape[0]):
        total += gradient[k] * gradient[k]
    return math.sqrt(total)


@jit_part
def adam_step(
    parameters: Floats,  # [parameters], in place
    m: Floats,  # [parameters], in place: mean of the gradients
    v: Floats,  # [parameters], in place: mean of their squares
    step: int,  # 1 for the first
    learning_rate: float,
    epsilon: float,
    gradient: Floats,  # [parameters]
    max_norm: float,  # the gradient is scaled down to this norm where it is longer
) -> float:
    """Make one step of Adam; returns the norm of the gradient before clipping."""
    norm = gradient_norm(gradient)
    scale = np.float32(max_norm / norm) if norm > max_norm else _ONE
    rate = np.float32(learning_rate * math.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step))
    eps = np.float32(epsilon * math.sqrt(1.0 - 0.999**step))
    for k in range(parameters.shape[0]):
        g = scale * gradient[k]
        m[k] = _BETA_1 * m[k] + (_ONE - _BETA_1) * g
        v[k] = _BETA_2 * v[k] + (_ONE - _BETA_2) * g * g
        parameters[k] -= rate * m[k] / (np.sqrt(v[k]) + eps)
    return norm
