"""Parts of kernels: kernels call them, Python cannot, and is told so."""

import numpy as np
import pytest

from dials_async.kernels.compile import jit, jit_part


@jit_part
def doubled(x: np.ndarray) -> float:
    return 2.0 * x[0]


@jit_part
def doubled_twice(x: np.ndarray) -> float:
    return doubled(x) + doubled(x)


@jit
def kernel(x: np.ndarray) -> float:
    return doubled_twice(x) + doubled(x)


def test_a_kernel_calls_parts_that_call_parts() -> None:
    assert kernel(np.ones(3)) == 6.0


def test_a_part_has_no_machine_code_and_cannot_be_called_from_python() -> None:
    """Without a word it would be a jump to address 0."""
    kernel(np.ones(3))
    for part in (doubled, doubled_twice):
        with pytest.raises(TypeError):
            part(np.ones(3))


@jit_part
def rest_doubled(x: np.ndarray) -> float:
    return doubled(x[1:])


@jit
def kernel_that_slices(x: np.ndarray) -> float:
    return rest_doubled(x)


def test_a_part_without_reference_counts_that_slices_an_array_is_refused() -> None:
    """Nobody would keep the memory of the slice."""
    with pytest.raises(TypeError, match=r"rest_doubled.*slices an array"):
        kernel_that_slices(np.ones(3))
