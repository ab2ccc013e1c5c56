"""Kernels around the functions that kernels alone call, which cannot be called from Python by themselves."""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels import ladders
from dials_async.kernels import rows as rows_kernels
from dials_async.kernels.arithmetic import fma
from dials_async.kernels.bits import set_bit, take_lists
from dials_async.kernels.compile import jit
from dials_async.kernels.panels import load_panels
from dials_async.kernels.products import product
from dials_async.kernels.rng import below, next_u64, uniform
from dials_async.kernels.vectors import LANES

Floats = NDArray[np.float32]


@jit
def words(states: NDArray[np.uint64], k: int, out: NDArray[np.uint64]) -> None:
    for i in range(out.shape[0]):
        out[i] = next_u64(states, k)


@jit
def uniforms(states: NDArray[np.uint64], k: int, out: NDArray[np.float64]) -> None:
    for i in range(out.shape[0]):
        out[i] = uniform(states, k)


@jit
def integers(states: NDArray[np.uint64], k: int, n: int, out: NDArray[np.int64]) -> None:
    for i in range(out.shape[0]):
        out[i] = below(states, k, n)


@jit
def set_bits(row: NDArray[np.uint8], indices: NDArray[np.int64]) -> None:
    for k in indices:
        set_bit(row, k)


@jit
def fused(a: np.float32, b: np.float32, c: np.float32) -> float:
    return fma(a, b, c)


@jit
def plain_product(x: Floats, w: Floats, start: Floats) -> Floats:
    """X [n, k] w [k, m] + start, one term after the other."""
    out = np.zeros((x.shape[0], w.shape[1]), dtype=np.float32)
    for i in range(x.shape[0]):
        for j in range(w.shape[1]):
            total = start[j]
            for k in range(x.shape[1]):
                total = fma(x[i, k], w[k, j], total)
            out[i, j] = total
    return out


@jit
def product_of(
    x: Floats,
    rows: int,
    terms: int,
    panels: Floats,
    columns: int,
    start: Floats,
    slopes: bool,
    activation: Floats,
    out: Floats,
) -> None:
    """The compiled product of the first ``rows`` and ``terms`` of ``x``, into the first rows of ``out``."""
    product(
        rows,
        terms,
        columns,
        x,
        0,
        x.shape[1],
        1,
        panels,
        0,
        terms * LANES,
        LANES,
        start,
        LANES,
        slopes,
        activation,
        out,
        0,
        out.shape[1],
    )


@jit
def transposed_product(
    rows: int, samples: int, columns: int, x: Floats, d: Floats, start: Floats, out: Floats, at: int
) -> None:
    """x^T d of the first columns of ``x`` and ``d``, to places from ``at`` of the flat ``out``."""
    product(
        rows,
        samples,
        columns,
        x,
        0,
        1,
        x.shape[1],
        d,
        0,
        LANES,
        d.shape[1],
        start,
        0,
        False,
        start,
        out,
        at,
        columns,
    )


@jit
def panels_of(w: Floats, at: int, inputs: int, outputs: int, panels: Floats, transposed: Floats) -> None:
    load_panels(w, at, inputs, outputs, panels, transposed)


@jit
def lists_in_rows(
    entries: NDArray[np.int16],
    starts: NDArray[np.int32],
    rows: NDArray[np.int32],
    n: int,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
) -> None:
    take_lists(entries, starts, rows, n, indices, counts)


@jit
def add_rows(
    table: Floats,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    n: int,
    start: Floats,
    out: Floats,
) -> None:
    rows_kernels.add_rows(table, indices, counts, n, start, out)


@jit
def add_to_rows(
    table: Floats,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    n: int,
    x: Floats,
) -> None:
    rows_kernels.add_to_rows(table, indices, counts, n, x)


@jit
def column_sums(x: Floats, n: int, columns: int, out: Floats) -> None:
    rows_kernels.column_sums(x, n, columns, out)


@jit
def square_sum(x: Floats) -> float:
    return rows_kernels.square_sum(x)


@jit
def load_table(
    w: Floats,
    n: int,
    columns: int,
    signed: int,
    ladder_from: int,
    steps: int,
    table: Floats,
    base: Floats,
) -> None:
    ladders.load_table(w, n, columns, signed, ladder_from, steps, table, base)


@jit
def store_gradient(
    table: Floats,
    sums: Floats,
    n: int,
    columns: int,
    signed: int,
    ladder_from: int,
    steps: int,
    out: Floats,
) -> None:
    ladders.store_gradient(table, sums, n, columns, signed, ladder_from, steps, out)
