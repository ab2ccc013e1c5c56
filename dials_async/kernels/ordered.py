"""Means outside of kernels that are the same bits on every processor: their sums are rounded once.

NumPy adds in as many lanes as the processor has. ``math.fsum`` is exact until it rounds its result, so that
not even the order of the numbers matters.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def mean(values: Iterable[float]) -> float:
    """Mean of some numbers, at least one."""
    numbers = [float(value) for value in values]
    return math.fsum(numbers) / len(numbers)


def mean_of_rows(table: Sequence[NDArray[np.float64]] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of ``table`` [rows, columns], at least one row; shape [columns]."""
    return np.array([mean(column) for column in zip(*table, strict=True)])


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of some numbers; 0 where there is one only."""
    n, centre = len(values), mean(values)
    if n < 2:
        return 0.0
    squares = math.fsum((float(x) - centre) * (float(x) - centre) for x in values)
    return math.sqrt(squares / (n - 1) / n)
