"""Initial parameters: orthogonal layers for actors and critics, uniform ones for AIPs.

Random numbers and arithmetic are the kernels': NumPy's come from libm and LAPACK, whose last bits differ
between machines, and a run is only as reproducible as its first weights.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.arithmetic import square_root
from dials_async.kernels.compile import jit, jit_inline
from dials_async.kernels.functions import log
from dials_async.kernels.rng import uniform
from dials_async.networks.layout import Shape, n_parameters, split

_HIDDEN_GAIN = math.sqrt(2.0)

#: Below this a point is too near to the origin for the float32 logarithm; it comes up once in 10^30 draws.
_LEAST_RADIUS = 1e-30


def initial_parameters(shape: Shape, seed: int, last_gain: float | None) -> NDArray[np.float32]:
    """The flat parameter vector of a new network; a function of shape and seed alone.

    Args:
        shape: of the network.
        seed: 64 bits.
        last_gain: orthogonal layers (Saxe et al., 2014) with gain sqrt(2), the last one with this gain and
            biases of 0, as is usual for PPO (0.01 for an actor: near-uniform actions at first). None: all
            uniform in +-1 / sqrt(fan in), torch's default for a GRU, for AIPs.
    """
    stream = np.array([seed], dtype=np.uint64)
    parameters = np.zeros(n_parameters(shape), dtype=np.float32)
    for name, view in split(shape, parameters).items():
        if last_gain is None:
            _fill_uniform(view.reshape(-1), 1.0 / math.sqrt(shape.h2 or shape.h1), stream)
        elif view.ndim == 2:
            rows, columns = view.shape
            matrix = np.zeros((max(rows, columns), min(rows, columns)))
            _fill_orthonormal(matrix, stream)
            view[...] = (matrix if rows >= columns else matrix.T) * (
                last_gain if name == "wo" else _HIDDEN_GAIN
            )
    return parameters


@jit
def _fill_uniform(out: NDArray[np.float32], bound: float, stream: NDArray[np.uint64]) -> None:
    """Numbers in +-``bound`` to ``out`` [n]."""
    for k in range(out.shape[0]):
        out[k] = bound * (2.0 * uniform(stream, 0) - 1.0)


@jit_inline
def _normal(stream: NDArray[np.uint64]) -> float:
    """A standard normal number, by the polar method (Marsaglia and Bray, 1964)."""
    while True:
        x, y = 2.0 * uniform(stream, 0) - 1.0, 2.0 * uniform(stream, 0) - 1.0
        radius = x * x + y * y
        if _LEAST_RADIUS < radius < 1.0:
            stretched: float = x * square_root(-2.0 * log(np.float32(radius)) / radius)
            return stretched


@jit
def _fill_orthonormal(out: NDArray[np.float64], stream: NDArray[np.uint64]) -> None:
    """Orthonormal columns, uniform among all, to ``out`` [rows >= columns, columns].

    Normal numbers, then modified Gram-Schmidt (Q of a QR decomposition whose R has a positive diagonal).
    """
    rows, columns = out.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = _normal(stream)
    shares = np.zeros(columns)
    for j in range(columns):
        squares = 0.0
        for i in range(rows):
            squares += out[i, j] * out[i, j]
        length = square_root(squares)
        for k in range(j + 1, columns):
            shares[k] = 0.0
        for i in range(rows):
            out[i, j] /= length
            for k in range(j + 1, columns):
                shares[k] += out[i, j] * out[i, k]
        for i in range(rows):
            for k in range(j + 1, columns):
                out[i, k] -= out[i, j] * shares[k]
