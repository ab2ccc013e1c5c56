"""Adam with global gradient clipping on one flat parameter vector (Kingma and Ba, 2015), compiled."""

import numpy as np

from dials_async.kernels.arithmetic import fma, square_root
from dials_async.kernels.compile import jit_inline, jit_part
from dials_async.kernels.rows import square_sum
from dials_async.networks.layout import Floats

_BETA_1 = np.float32(0.9)
_BETA_2 = np.float32(0.999)
_ONE = np.float32(1.0)


@jit_inline
def _power(base: float, exponent: int) -> float:
    """Base ** exponent >= 0 by squaring: libm's pow differs between machines."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


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
    norm: float = square_root(np.float64(square_sum(gradient)))
    scale = np.float32(max_norm / norm) if norm > max_norm else _ONE
    correction = square_root(1.0 - _power(0.999, step))
    rate = np.float32(learning_rate * correction / (1.0 - _power(0.9, step)))
    eps = np.float32(epsilon * correction)
    share, square_share = (_ONE - _BETA_1) * scale, (_ONE - _BETA_2) * scale * scale
    for k in range(parameters.shape[0]):
        g = gradient[k]
        mean = fma(share, g, _BETA_1 * m[k])
        square = fma(square_share * g, g, _BETA_2 * v[k])
        m[k] = mean
        v[k] = square
        parameters[k] -= rate * mean / (square_root(square) + eps)
    return norm
