"""Initial parameters: orthogonal layers for actors and critics, uniform ones for AIPs."""

import numpy as np
from numpy.typing import NDArray

from dials_async.networks.layout import Shape, n_parameters, split

_HIDDEN_GAIN = np.sqrt(2.0)


def initial_parameters(shape: Shape, seed: int, last_gain: float | None) -> NDArray[np.float32]:
    """The flat parameter vector of a new network; a function of shape and seed alone.

    Args:
        shape: of the network.
        seed: 64 bits.
        last_gain: orthogonal layers (Saxe et al., 2014) with gain sqrt(2), the last one with this gain and
            biases of 0, as is usual for PPO (0.01 for an actor: near-uniform actions at first). None: all
            uniform in +-1 / sqrt(fan in), torch's default for a GRU, for AIPs.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    parameters = np.zeros(n_parameters(shape), dtype=np.float32)
    for name, view in split(shape, parameters).items():
        if last_gain is None:
            bound = 1.0 / np.sqrt(shape.h2 or shape.h1)
            view[...] = rng.uniform(-bound, bound, view.shape)
        elif view.ndim == 2:
            view[...] = _orthogonal(rng, view.shape) * (last_gain if name == "wo" else _HIDDEN_GAIN)
    return parameters


def _orthogonal(rng: np.random.Generator, size: tuple[int, ...]) -> NDArray[np.float64]:
    rows, columns = size
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T
