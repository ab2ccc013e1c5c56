"""Products of matrices against plain loops: the same bits, whatever the sizes, strides and tiles."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.kernels.products import MOST_ROWS
from dials_async.kernels.vectors import LANES, padded, stride

from .compiled import fused, panels_of, plain_product, product_of, transposed_product

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)

#: Rows below, at and above one tile, two tiles; columns below, at and above whole vectors.
ROWS = sorted({1, 2, MOST_ROWS - 1, MOST_ROWS, MOST_ROWS + 1, 2 * MOST_ROWS - 1, 2 * MOST_ROWS, 31})
COLUMNS = (1, 5, LANES - 1, LANES, LANES + 1, 3 * LANES, 50)


def random(rng: np.random.Generator, *size: int) -> np.ndarray:
    return rng.normal(size=size).astype(np.float32)


def rounded(x: Fraction) -> np.float32:
    """The float32 next to ``x``, ties to even, by the two neighbours of a first guess."""
    guess = np.float32(float(x))
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    return min(near, key=lambda y: (abs(Fraction(float(y)) - x), int(y.view(np.int32)) & 1))


@given(numbers, numbers, numbers)
def test_a_fused_multiply_add_is_rounded_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if abs(exact) < Fraction(2) ** 120 and (exact == 0 or abs(exact) > Fraction(2) ** -120):
        assert fused(np.float32(a), np.float32(b), np.float32(c)) == rounded(exact)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("terms", [0, 1, 2, 67])
def test_a_product_has_the_bits_of_a_plain_loop(rows: int, columns: int, terms: int) -> None:
    # Given x and w, w in panels, and what the sums start from
    rng = np.random.default_rng(rows * 1000 + columns * 10 + terms)
    x, w = random(rng, rows, stride(terms) or LANES), random(rng, terms, columns)
    start = np.zeros((1, padded(columns)), np.float32)
    start[0, :columns] = random(rng, columns)
    panels = np.full((padded(columns) // LANES * terms, LANES), np.nan, np.float32)
    panels_of(w.reshape(-1), 0, terms, columns, panels, panels[:0])
    # When they are multiplied
    out = np.full((rows, stride(columns)), 7, np.float32)
    product_of(x, rows, terms, panels, columns, start, False, start, out)
    # Then each element is the sum of its terms in order, and nothing is written behind them
    expected = plain_product(np.ascontiguousarray(x[:, :terms]), w, start[0])
    assert np.array_equal(out[:, :columns], expected)
    assert (out[:, columns:] == 7).all()
    # And with the slopes of an activation it is that times 1 - a^2, each operation rounded once
    activation = np.tanh(random(rng, *out.shape))
    product_of(x, rows, terms, panels, columns, start, True, activation, out)
    for i in range(rows):
        for j in range(columns):
            a = activation[i, j]
            assert out[i, j] == expected[i, j] * np.float32(fused(-a, a, np.float32(1)))
    assert (out[:, columns:] == 7).all()


@pytest.mark.parametrize("inputs", [1, 6, 7, 13, LANES, 33])
@pytest.mark.parametrize("outputs", COLUMNS)
def test_the_product_with_a_transpose_too(inputs: int, outputs: int) -> None:
    """As the gradient of a layer's weights is made: x^T d over the samples, into a flat vector."""
    rng, samples = np.random.default_rng(inputs + 100 * outputs), 21
    x, d = random(rng, samples, stride(inputs)), random(rng, samples, stride(outputs))
    out, before = np.full(3 + inputs * outputs + 5, 7, np.float32), 3
    zeros = np.zeros((1, padded(outputs)), np.float32)
    transposed_product(inputs, samples, outputs, x, d, zeros, out, before)
    expected = plain_product(
        np.ascontiguousarray(x[:, :inputs].T), np.ascontiguousarray(d[:, :outputs]), zeros[0]
    )
    assert np.array_equal(out[before:-5].reshape(inputs, outputs), expected)
    assert (out[:before] == 7).all()
    assert (out[-5:] == 7).all()


@pytest.mark.parametrize("inputs", [1, LANES - 1, LANES, LANES + 1, 45])
@pytest.mark.parametrize("outputs", COLUMNS)
def test_panels_hold_the_matrix_and_its_transpose(inputs: int, outputs: int) -> None:
    w = random(np.random.default_rng(inputs), inputs, outputs)
    flat = np.concatenate([np.full(5, np.nan, np.float32), w.reshape(-1)])
    panels = np.full((padded(outputs) // LANES * inputs, LANES), np.nan, np.float32)
    transposed = np.full((padded(inputs) // LANES * outputs, LANES), np.nan, np.float32)
    panels_of(flat, 5, inputs, outputs, panels, transposed)
    for found, matrix in ((panels, w), (transposed, w.T)):
        rows, columns = matrix.shape
        whole = found.reshape(-1, rows, LANES).transpose(1, 0, 2).reshape(rows, -1)
        assert np.array_equal(whole[:, :columns], matrix)
        assert (whole[:, columns:] == 0).all()  # what is not there weighs nothing


def test_a_matrix_behind_which_memory_ends_is_read_to_its_end_only() -> None:
    """A vector's load that reads on behind the last element could meet a page that is not there."""
    import mmap

    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, page)
    w = np.frombuffer(memory, dtype=np.float32)[-35:]  # 5 x 7, up to the end of the mapping
    w[:] = np.arange(35)
    panels, transposed = np.zeros((5, LANES), np.float32), np.zeros((7, LANES), np.float32)
    panels_of(w, 0, 5, 7, panels, transposed)
    assert np.array_equal(panels[:, :7], w.reshape(5, 7))
    assert np.array_equal(transposed[:, :5], w.reshape(5, 7).T)
