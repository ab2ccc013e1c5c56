"""Sums of rows of a matrix, compiled: the first layer on bits, its gradient, column sums, norms.

A lane is a column and takes its terms in order; up to 64 columns stay in registers at a time.
``tests/kernels/test_rows.py`` compares with plain loops, bit by bit.
"""

from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from dials_async.kernels import vectors as v
from dials_async.kernels.arithmetic import llvm_code
from dials_async.kernels.compile import jit_part
from dials_async.kernels.vectors import INT64, LANES, MOST_VECTORS

Floats = NDArray[np.float32]

_PLACE = types.int64


def _active(builder: Any, indices: Any, width: Any, counts: Any, i: Any) -> tuple[Any, Any]:
    """Where the list of sample ``i`` begins, and how many entries it has."""
    count = builder.sext(builder.load(v.address(builder, counts, i)), INT64)
    return v.address(builder, indices, builder.mul(i, width)), count


def _row_of(builder: Any, table: Any, table_row: Any, entries: Any, j: Any) -> Any:
    index = builder.sext(builder.load(v.address(builder, entries, j)), INT64)
    return v.address(builder, table, builder.mul(index, table_row))


@llvm_code
def _add_rows(typing_context, vectors, table, at, table_row, indices, width, counts, n, start, out, out_row):
    signature = types.void(_PLACE, table, *[_PLACE] * 2, indices, _PLACE, counts, _PLACE, start, out, _PLACE)

    def code(context, builder, signature, values):
        vectors, table, at, table_row, indices, width, counts, n, start, out, out_row = values
        kinds = signature.args
        table = v.data(context, builder, kinds[1], table, at)
        indices = v.data(context, builder, kinds[4], indices)
        counts = v.data(context, builder, kinds[6], counts)
        start = v.data(context, builder, kinds[8], start, at)
        out = v.data(context, builder, kinds[9], out, at)

        def write(size: int) -> None:
            first = [v.load(builder, part) for part in v.parts(builder, start, size)]

            def add_up(i: Any, _: list[Any]) -> list[Any]:
                entries, count = _active(builder, indices, width, counts, i)

                def add(j: Any, sums: list[Any]) -> list[Any]:
                    parts = v.parts(builder, _row_of(builder, table, table_row, entries, j), size)
                    return [
                        builder.fadd(total, v.load(builder, part))
                        for total, part in zip(sums, parts, strict=True)
                    ]

                sums = v.loop(builder, count, first, add)
                places = v.parts(builder, v.address(builder, out, builder.mul(i, out_row)), size)
                for total, place in zip(sums, places, strict=True):
                    v.store(builder, total, place)
                return []

            v.loop(builder, n, [], add_up)

        v.by_size(builder, vectors, MOST_VECTORS, write)
        return context.get_dummy_value()

    return signature, code


@jit_part
def add_rows(
    table: Floats,  # [table rows, columns], whole vectors
    indices: NDArray[np.int16],  # [samples, most]
    counts: NDArray[np.int32],  # [samples]
    n: int,
    start: Floats,  # [1, columns]
    out: Floats,  # [samples, at least columns]
) -> None:
    """Out[i] = start + the rows of ``table`` that the list of sample i names, in the list's order."""
    vectors = table.shape[1] // LANES
    for done in range(0, vectors, MOST_VECTORS):
        _add_rows(
            min(vectors - done, MOST_VECTORS),
            table,
            done * LANES,
            table.shape[1],
            indices,
            indices.shape[1],
            counts,
            n,
            start,
            out,
            out.shape[1],
        )


@llvm_code
def _add_to_rows(typing_context, vectors, table, at, table_row, indices, width, counts, n, x, x_row):
    signature = types.void(_PLACE, table, *[_PLACE] * 2, indices, _PLACE, counts, _PLACE, x, _PLACE)

    def code(context, builder, signature, values):
        vectors, table, at, table_row, indices, width, counts, n, x, x_row = values
        kinds = signature.args
        table = v.data(context, builder, kinds[1], table, at)
        indices = v.data(context, builder, kinds[4], indices)
        counts = v.data(context, builder, kinds[6], counts)
        x = v.data(context, builder, kinds[8], x, at)

        def write(size: int) -> None:
            def spread(i: Any, _: list[Any]) -> list[Any]:
                entries, count = _active(builder, indices, width, counts, i)
                places = v.parts(builder, v.address(builder, x, builder.mul(i, x_row)), size)
                terms = [v.load(builder, place) for place in places]

                def add(j: Any, _: list[Any]) -> list[Any]:
                    parts = v.parts(builder, _row_of(builder, table, table_row, entries, j), size)
                    for term, part in zip(terms, parts, strict=True):
                        v.store(builder, builder.fadd(v.load(builder, part), term), part)
                    return []

                v.loop(builder, count, [], add)
                return []

            v.loop(builder, n, [], spread)

        v.by_size(builder, vectors, MOST_VECTORS, write)
        return context.get_dummy_value()

    return signature, code


@jit_part
def add_to_rows(
    table: Floats,  # [table rows, columns], whole vectors; in place
    indices: NDArray[np.int16],  # [n, most]
    counts: NDArray[np.int32],  # [n]
    n: int,
    x: Floats,  # [n, at least columns]
) -> None:
    """Add x[i] to the rows of ``table`` that the list of sample i names: the gradient of :func:`add_rows`."""
    vectors = table.shape[1] // LANES
    for done in range(0, vectors, MOST_VECTORS):
        _add_to_rows(
            min(vectors - done, MOST_VECTORS),
            table,
            done * LANES,
            table.shape[1],
            indices,
            indices.shape[1],
            counts,
            n,
            x,
            x.shape[1],
        )


@llvm_code
def _sum_rows(typing_context, vectors, x, at, x_row, n, out):
    signature = types.void(_PLACE, x, *[_PLACE] * 3, out)

    def code(context, builder, signature, values):
        vectors, x, at, x_row, n, out = values
        x = v.data(context, builder, signature.args[1], x, at)
        out = v.data(context, builder, signature.args[5], out, at)

        def write(size: int) -> None:
            def add(i: Any, sums: list[Any]) -> list[Any]:
                parts = v.parts(builder, v.address(builder, x, builder.mul(i, x_row)), size)
                return [
                    builder.fadd(total, v.load(builder, part))
                    for total, part in zip(sums, parts, strict=True)
                ]

            sums = v.loop(builder, n, [v.ZERO] * size, add)
            for total, place in zip(sums, v.parts(builder, out, size), strict=True):
                v.store(builder, total, place)

        v.by_size(builder, vectors, MOST_VECTORS, write)
        return context.get_dummy_value()

    return signature, code


@jit_part
def column_sums(x: Floats, n: int, columns: int, out: Floats) -> None:
    """Sums over the first ``n`` rows of ``x``, in their order, to out[0]; columns in whole vectors."""
    vectors = (columns + LANES - 1) // LANES
    for done in range(0, vectors, MOST_VECTORS):
        _sum_rows(min(vectors - done, MOST_VECTORS), x, done * LANES, x.shape[1], n, out)


@llvm_code
def _square_sum(typing_context, x, blocks):
    """Sum of the squares of the first ``blocks`` x 64 elements of ``x``: 64 lanes, then half by half."""

    def code(context, builder, signature, values):
        x, blocks = values
        x = v.data(context, builder, signature.args[0], x)

        def add_squares(k: Any, sums: list[Any]) -> list[Any]:
            block = v.address(builder, x, builder.mul(k, INT64(MOST_VECTORS * LANES)))
            parts = [v.load(builder, part) for part in v.parts(builder, block, MOST_VECTORS)]
            return [v.fma(builder, part, part, total) for part, total in zip(parts, sums, strict=True)]

        a, b, c, d = v.loop(builder, blocks, [v.ZERO] * MOST_VECTORS, add_squares)
        total, width = builder.fadd(builder.fadd(a, b), builder.fadd(c, d)), LANES
        while width > 1:
            width //= 2
            lower = v.lanes_of(builder, total, total, range(width))
            total = builder.fadd(lower, v.lanes_of(builder, total, total, range(width, 2 * width)))
        return builder.extract_element(total, v.INT32(0))

    return types.float32(x, types.int64), code


@jit_part
def square_sum(x: Floats) -> float:
    """Sum of the squares of ``x`` [n]: in 64 lanes, then by halves, then what is left, one by one."""
    block = LANES * MOST_VECTORS
    blocks = x.shape[0] // block
    total: float = _square_sum(x, blocks)
    for k in range(blocks * block, x.shape[0]):
        total += x[k] * x[k]
    return total
