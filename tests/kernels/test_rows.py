"""Sums of rows and the table of bits against plain loops: the same bits, whatever the sizes."""

import numpy as np
import pytest

from dials_async.kernels.vectors import LANES, padded, stride

from .compiled import add_rows, add_to_rows, column_sums, fused, load_table, square_sum, store_gradient

WIDTHS = (1, LANES, 50, 64, 65, 192, 200)
Lists = tuple[np.ndarray, np.ndarray]  # indices, counts


def random(rng: np.random.Generator, *size: int) -> np.ndarray:
    return rng.normal(size=size).astype(np.float32)


def random_lists(rng: np.random.Generator, table_rows: int, n: int) -> Lists:
    """``n`` lists of up to 5 of ``table_rows`` numbers in rising order, some empty."""
    counts = rng.integers(0, 6, n).astype(np.int32)
    indices = np.full((n, 5), -1, dtype=np.int16)
    for line, count in zip(indices, counts, strict=True):
        line[:count] = np.sort(rng.choice(table_rows, count, replace=False))
    return indices, counts


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_added_in_the_order_of_the_list(width: int) -> None:
    rng, n = np.random.default_rng(width), 14
    table, start = random(rng, 11, padded(width)), random(rng, 1, padded(width))
    indices, counts = random_lists(rng, 11, n)
    out = np.full((n, stride(width) + LANES), 7, np.float32)
    add_rows(table, indices, counts, n, start, out)
    for i in range(n):
        expected = start[0].copy()
        for index in indices[i, : counts[i]]:
            expected += table[index]
        assert np.array_equal(out[i, : padded(width)], expected)
    assert (out[:, padded(width) :] == 7).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_gradient_is_added_to_the_rows_in_the_order_of_the_samples(width: int) -> None:
    rng, n = np.random.default_rng(width), 14
    table, x = random(rng, 11, padded(width)), random(rng, n, stride(width))
    indices, counts = random_lists(rng, 11, n)
    expected = table.copy()
    for i in range(n):
        for index in indices[i, : counts[i]]:
            expected[index] += x[i, : padded(width)]
    add_to_rows(table, indices, counts, n, x)
    assert np.array_equal(table, expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", [0, 1, 200])
def test_column_sums_take_the_rows_in_order(width: int, n: int) -> None:
    x = random(np.random.default_rng(width), 200, stride(width))
    out, expected = np.full((1, padded(width)), np.nan, np.float32), np.zeros(stride(width), np.float32)
    for row in x[:n]:
        expected += row
    column_sums(x, n, width, out)
    assert np.array_equal(out[0, :width], expected[:width])


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000])
def test_a_sum_of_squares_has_64_lanes_that_are_added_half_by_half(n: int) -> None:
    x = random(np.random.default_rng(n), n)
    lanes = [np.float32(0)] * 64
    for k in range(n // 64 * 64):
        lanes[k % 64] = np.float32(fused(x[k], x[k], lanes[k % 64]))
    quarters = np.array(lanes).reshape(4, 16)
    sums = (quarters[0] + quarters[1]) + (quarters[2] + quarters[3])
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    expected = sums[0]
    for k in range(n // 64 * 64, n):
        expected += x[k] * x[k]
    assert np.float32(square_sum(x)) == expected


#: Bits, and where ladders of how many begin.
LADDERS = ((7, 0, 1), (7, 3, 1), (12, 0, 3), (13, 4, 3), (9, 9, 4), (9, 8, 1), (2, 0, 2))


@pytest.mark.parametrize(("n", "ladder_from", "steps"), LADDERS)
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("columns", [1, 16, 20, 32, 35, 50])
def test_the_table_holds_what_each_bit_adds(
    n: int, ladder_from: int, steps: int, signed: int, columns: int
) -> None:
    w = random(np.random.default_rng(n), n + 1, columns)
    table, base = (np.full((k, padded(columns)), np.nan, np.float32) for k in (n, 1))
    load_table(w.reshape(-1), n, columns, signed, ladder_from, steps, table, base)
    expected = w[:n] * np.float32(2 if signed else 1)
    for i in range(ladder_from, n):
        if (i - ladder_from) % steps:
            expected[i] += expected[i - 1]
    assert np.array_equal(table[:, :columns], expected)
    bias = w[n].copy()
    for row in w[:n]:
        bias -= row if signed else 0
    assert np.array_equal(base[0, :columns], bias)
    assert (table[:, columns:] == 0).all()
    assert (base[:, columns:] == 0).all()


@pytest.mark.parametrize(("n", "ladder_from", "steps"), LADDERS)
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("columns", [1, 16, 20, 32, 35, 50])
def test_the_gradient_of_the_table_becomes_that_of_the_weights(
    n: int, ladder_from: int, steps: int, signed: int, columns: int
) -> None:
    rng = np.random.default_rng(n)
    table, sums = random(rng, n, padded(columns)), random(rng, 1, padded(columns))
    out = np.full((n + 1) * columns + 3, 7, np.float32)
    store_gradient(table, sums, n, columns, signed, ladder_from, steps, out)
    expected = table[:, :columns].copy()
    for i in range(n - 2, ladder_from - 1, -1):
        if (i + 1 - ladder_from) % steps:
            expected[i] += expected[i + 1]
    if signed:  # doubling is exact: rounded once, as the fused operation is
        expected = 2 * expected - sums[0, :columns]
    found = out[:-3].reshape(n + 1, columns)
    assert np.array_equal(found[:n], expected)
    assert np.array_equal(found[n], sums[0, :columns])
    assert (out[-3:] == 7).all()
