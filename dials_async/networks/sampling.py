"""Choosing from logits, compiled: categorical sampling with log-probabilities, for actions and influence."""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import Scalar, jit_inline, jit_part
from dials_async.kernels.functions import exp, log
from dials_async.kernels.rng import uniform

Floats = NDArray[np.float32]


@jit_part
def softmax(
    logits: Floats, n: int, n_parts: int, n_classes: int, weights: Floats, log_totals: Floats
) -> None:
    """Unnormalised probabilities of ``n`` rows of ``n_parts`` x ``n_classes`` logits, each part by itself.

    Logits become those above the greatest of their part; ``weights`` (of the same shape) their exponentials,
    and ``log_totals`` [n, at least n_parts] the logarithms of the sums: log p = logit - log total.
    """
    for i in range(n):
        for part in range(n_parts):
            start = part * n_classes
            top = logits[i, start]
            for k in range(start + 1, start + n_classes):
                top = logits[i, k] if logits[i, k] > top else top
            for k in range(start, start + n_classes):
                logits[i, k] -= top
    for i in range(n):
        for k in range(logits.shape[1]):  # whole vectors, whatever is behind the last class
            weights[i, k] = exp(logits[i, k])
    for i in range(n):
        for part in range(n_parts):
            total = np.float32(0.0)
            for k in range(part * n_classes, (part + 1) * n_classes):
                total += weights[i, k]
            log_totals[i, part] = total
    for i in range(n):
        for part in range(n_parts):
            log_totals[i, part] = log(log_totals[i, part])


@jit_inline
def draw(weights: Floats, row: int, start: int, n_classes: int, streams: NDArray[np.uint64], k: int) -> int:
    """Index in 0 .. n_classes - 1, drawn in proportion to weights[row, start:]; advances stream ``k``."""
    total = np.float32(0.0)
    for j in range(start, start + n_classes):
        total += weights[row, j]
    point = uniform(streams, k) * total
    for j in range(start, start + n_classes - 1):
        point -= weights[row, j]
        if point < 0.0:
            return j - start
    # Rounding left nothing for the last class: not one that is impossible, its log-probability is a poison.
    last = start + n_classes - 1
    while last > start and weights[row, last] == 0.0:
        last -= 1
    return last - start


@jit_inline
def greatest(logits: Floats, row: int, n: int) -> Scalar:
    """Index of the greatest of the first ``n`` of logits[row] (greedy action); the first one in a tie."""
    best = 0
    for k in range(1, n):
        if logits[row, k] > logits[row, best]:
            best = k
    return best
