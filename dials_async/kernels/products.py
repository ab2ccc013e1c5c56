"""Products of matrices, compiled: a tile of the result stays in registers while its terms are added in order.

Each element has one accumulator and takes its terms by fused multiply-add in the order of k, whatever the
tile. The second factor comes in panels of 16 columns, [panels, k, 16]. ``tests/kernels/test_products.py``
compares with plain loops, bit by bit; ``benchmarks/products.py`` with OpenBLAS and torch.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from dials_async.kernels import vectors as v
from dials_async.kernels.arithmetic import llvm_code
from dials_async.kernels.compile import jit_leaf, jit_part
from dials_async.kernels.processor import HAS_WIDE_REGISTERS
from dials_async.kernels.vectors import INT64, LANES, NARROW

Floats = NDArray[np.float32]

#: Rows of the largest tile: with 16 registers of 8 floats 12 accumulators leave room for the factors.
MOST_ROWS = 12 if HAS_WIDE_REGISTERS else 6

#: And of the largest with half as many columns.
MOST_NARROW_ROWS = 12

_PLACE = types.int64


def _make_tile(lanes: int, most_rows: int) -> Any:
    """The tile of :func:`product` with up to so many columns and rows."""

    @llvm_code
    def tile(
        typing_context,
        rows,
        terms,
        left,
        x,
        x_at,
        x_row,
        x_step,
        w,
        w_at,
        w_step,
        start,
        start_at,
        slopes,
        activation,
        out,
        out_at,
        out_row,
    ):
        signature = types.void(
            *[_PLACE] * 3,
            x,
            *[_PLACE] * 3,
            w,
            *[_PLACE] * 2,
            start,
            _PLACE,
            types.boolean,
            activation,
            out,
            *[_PLACE] * 2,
        )

        def code(context, builder, signature, values):
            (
                size,
                terms,
                left,
                x,
                x_at,
                x_row,
                x_step,
                w,
                w_at,
                w_step,
                start,
                start_at,
                slopes,
                activation,
                out,
                out_at,
                out_row,
            ) = values
            kinds = signature.args
            x = v.data(context, builder, kinds[3], x, x_at)
            w = v.data(context, builder, kinds[7], w, w_at)
            first = v.load(builder, v.data(context, builder, kinds[10], start, start_at), lanes)
            activation = v.data(context, builder, kinds[13], activation, out_at)
            out = v.data(context, builder, kinds[14], out, out_at)
            ones = v.broadcast(builder, ir.Constant(ir.FloatType(), 1.0), lanes)

            def write(n: int) -> None:
                lines = [v.address(builder, x, builder.mul(x_row, INT64(row))) for row in range(n)]

                def add_terms(k: Any, sums: list[Any]) -> list[Any]:
                    weights = v.load(builder, v.address(builder, w, builder.mul(k, w_step)), lanes)
                    step = builder.mul(k, x_step)
                    inputs = [builder.load(v.address(builder, line, step)) for line in lines]
                    return [
                        v.fma(builder, v.broadcast(builder, number, lanes), weights, total)
                        for number, total in zip(inputs, sums, strict=True)
                    ]

                sums = v.loop(builder, terms, [first] * n, add_terms)
                places = [builder.mul(out_row, INT64(row)) for row in range(n)]

                def store(put: Any) -> None:
                    for place, total in zip(places, sums, strict=True):
                        put([total], v.address(builder, out, place))

                def store_with_slopes(put: Any) -> None:
                    for place, total in zip(places, sums, strict=True):
                        a = v.load(builder, v.address(builder, activation, place), lanes)
                        slope = v.fma(builder, builder.fneg(a), a, ones)
                        put([builder.fmul(total, slope)], v.address(builder, out, place))

                with builder.if_else(slopes) as (with_slopes, without):
                    with with_slopes:
                        v.whole_or_part(builder, left, 1, store_with_slopes, lanes)
                    with without:
                        v.whole_or_part(builder, left, 1, store, lanes)

            v.by_size(builder, size, most_rows, write)
            return context.get_dummy_value()

        return signature, code

    return tile


_tile = _make_tile(LANES, MOST_ROWS)

#: One register of AVX2 a row: twice the rows.
_narrow_tile = _make_tile(NARROW, MOST_NARROW_ROWS)


@jit_leaf
def _narrow_product(
    rows: int,
    terms: int,
    columns: int,
    x: Floats,
    x_at: int,
    x_row: int,
    x_step: int,
    w: Floats,
    w_at: int,
    w_step: int,
    start: Floats,
    slopes: bool,
    activation: Floats,
    out: Floats,
    out_at: int,
    out_row: int,
) -> None:
    """:func:`product` with up to 8 columns, as of few actions: half of a wide tile would be idle."""
    row = 0
    while row < rows:
        size = min(MOST_NARROW_ROWS, rows - row)
        _narrow_tile(
            size,
            terms,
            columns,
            x,
            x_at + row * x_row,
            x_row,
            x_step,
            w,
            w_at,
            w_step,
            start,
            0,
            slopes,
            activation,
            out,
            out_at + row * out_row,
            out_row,
        )
        row += size


@jit_part
def product(
    rows: int,
    terms: int,
    columns: int,
    x: Floats,
    x_at: int,
    x_row: int,  # from row to row
    x_step: int,  # from term to term: 1, or x_row = 1 for the transpose of x
    w: Floats,
    w_at: int,
    w_panel: int,  # from 16 columns to the next 16
    w_step: int,  # from term to term
    start: Floats,
    start_panel: int,  # 16; or 0: all columns begin with the same 16
    slopes: bool,
    activation: Floats,  # unless there are slopes, any array
    out: Floats,
    out_at: int,
    out_row: int,
) -> None:
    """Out[i, j] = start[j] + sum over k of x[i, k] w[k, j], k in order; what is behind ``columns`` stays.

    With ``slopes`` times 1 - activation[i, j]^2, whose rows are read in whole vectors, at the places of out.

    All arrays are float32 and given by places (in floats), so that one kernel serves matrices, their
    transposes, panels and parts.
    """
    if columns <= NARROW:
        _narrow_product(
            rows,
            terms,
            columns,
            x,
            x_at,
            x_row,
            x_step,
            w,
            w_at,
            w_step,
            start,
            slopes,
            activation,
            out,
            out_at,
            out_row,
        )
        return
    for panel in range((columns + LANES - 1) // LANES):
        row = 0
        while row < rows:
            left = rows - row
            # The last two tiles share what is left: a small one would wait for its own sums.
            size = MOST_ROWS if left >= 2 * MOST_ROWS else ((left + 1) // 2 if left > MOST_ROWS else left)
            _tile(
                size,
                terms,
                columns - panel * LANES,
                x,
                x_at + row * x_row,
                x_row,
                x_step,
                w,
                w_at + panel * w_panel,
                w_step,
                start,
                panel * start_panel,
                slopes,
                activation,
                out,
                out_at + row * out_row + panel * LANES,
                out_row,
            )
            row += size
