"""Drawing a class when rounding leaves nothing for the last one: never a class that cannot occur."""

import numpy as np
from numba import njit

from dials_async.kernels.rng import stream_seeds
from dials_async.networks.sampling import draw

N_CLASSES = 256


@njit
def _count(weights: np.ndarray, streams: np.ndarray, n: int) -> np.ndarray:
    counts = np.zeros(weights.shape[1], np.int64)
    for _ in range(n):
        counts[draw(weights, 0, 0, weights.shape[1], streams, 0)] += 1
    return counts


def test_rounding_never_draws_a_class_of_weight_zero() -> None:
    # Given weights whose float32 sum is above the true one by 102 units in the last place
    step = np.float32(2.0**-23)
    weights = np.full((1, N_CLASSES), np.float32(0.6) * step, np.float32)
    weights[0, 0], weights[0, -1] = 1.0, 0.0
    streams = stream_seeds(np.array([7], np.uint64), 1)[0].copy()
    counts = _count(weights, streams, 4_000_000)
    # Then what is left over goes to the last class that can occur, and it does occur
    assert counts[-1] == 0
    assert counts[-2] > 20
    assert counts[1:-2].max() < counts[-2]
