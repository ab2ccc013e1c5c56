"""Weights of bits to and from the table whose rows the first layer adds up, compiled.

In a ladder of bits one is set only where the one before it is, so a list of active bits names the last of
each ladder that is set (``bits.active_bits``): its row of the table is the sum of those up to it.
``tests/kernels/test_rows.py`` compares with plain loops, bit by bit.
"""

from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from dials_async.kernels import vectors as v
from dials_async.kernels.arithmetic import llvm_code
from dials_async.kernels.compile import jit_part
from dials_async.kernels.vectors import INT64, LANES

Floats = NDArray[np.float32]

_PLACE = types.int64

#: Vectors of a row at a time: two or three numbers for each column stay in registers.
_MOST_VECTORS = 2


@llvm_code
def _load_table(
    typing_context, vectors, w, at, w_row, n, left, scale, minus, ladder_from, steps, table, table_row, base
):
    """Some vectors of each row, of which ``left`` columns are there, of :func:`load_table`."""
    number = types.float32
    signature = types.void(_PLACE, w, *[_PLACE] * 4, number, number, *[_PLACE] * 2, table, _PLACE, base)

    def code(context, builder, signature, values):
        vectors, w, at, w_row, n, left, scale, minus, ladder_from, steps, table, table_row, base = values
        kinds = signature.args
        w = v.data(context, builder, kinds[1], w, at)
        table = v.data(context, builder, kinds[10], table, at)
        base = v.data(context, builder, kinds[12], base, at)
        scales, minuses = v.broadcast(builder, scale), v.broadcast(builder, minus)

        def write(size: int) -> None:
            def write_rows(get: Any) -> None:
                def load_row(i: Any, carried: list[Any]) -> list[Any]:
                    below, sums = carried[:size], carried[size:-1]  # the row before, what is there unset
                    place = carried[-1]  # where in its ladder this bit is
                    weights = get(v.address(builder, w, builder.mul(i, w_row)))
                    continues = builder.icmp_signed("!=", place, INT64(0))
                    row = [
                        v.fma(builder, scales, weight, builder.select(continues, part, v.ZERO))
                        for weight, part in zip(weights, below, strict=True)
                    ]
                    places = v.parts(builder, v.address(builder, table, builder.mul(i, table_row)), size)
                    for part, where in zip(row, places, strict=True):
                        v.store(builder, part, where)
                    following = builder.add(place, INT64(1))
                    ends = builder.or_(
                        builder.icmp_signed(">=", following, steps), builder.icmp_signed("<", i, ladder_from)
                    )
                    sums = [v.fma(builder, minuses, *pair) for pair in zip(weights, sums, strict=True)]
                    return [*row, *sums, builder.select(ends, INT64(0), following)]

                first = get(v.address(builder, w, builder.mul(n, w_row)))  # the biases
                last = v.loop(builder, n, [*[v.ZERO] * size, *first, INT64(0)], load_row)
                for total, where in zip(last[size:-1], v.parts(builder, base, size), strict=True):
                    v.store(builder, total, where)

            v.read_whole_or_part(builder, left, size, write_rows)

        v.by_size(builder, vectors, _MOST_VECTORS, write)
        return context.get_dummy_value()

    return signature, code


@jit_part
def load_table(
    w: Floats,  # [at least (n + 1) * columns]: the weights [n, columns], then the biases
    n: int,
    columns: int,
    signed: int,
    ladder_from: int,
    ladder_steps: int,
    table: Floats,  # [n, columns, padded], out
    base: Floats,  # [1, columns, padded], out
) -> None:
    """What each bit adds to the first layer, and what is there without any.

    Inputs -1 / +1 (``signed``) are those of 0 / 1 doubled, less 1.
    """
    scale, minus = np.float32(2.0 if signed else 1.0), np.float32(-1.0 if signed else 0.0)
    vectors = table.shape[1] // LANES
    for done in range(0, vectors, _MOST_VECTORS):
        _load_table(
            min(vectors - done, _MOST_VECTORS),
            w,
            done * LANES,
            columns,
            n,
            columns - done * LANES,
            scale,
            minus,
            ladder_from,
            ladder_steps,
            table,
            table.shape[1],
            base,
        )


@llvm_code
def _store_gradient(
    typing_context,
    vectors,
    table,
    at,
    table_row,
    sums,
    n,
    left,
    scale,
    minus,
    ladder_from,
    steps,
    out,
    out_row,
):
    """Some vectors of each row, of which ``left`` columns are there, of :func:`store_gradient`."""
    number = types.float32
    signature = types.void(
        _PLACE, table, *[_PLACE] * 2, sums, *[_PLACE] * 2, number, number, *[_PLACE] * 2, out, _PLACE
    )

    def code(context, builder, signature, values):
        vectors, table, at, table_row, sums, n, left, scale, minus, ladder_from, steps, out, out_row = values
        kinds = signature.args
        table = v.data(context, builder, kinds[1], table, at)
        sums = v.data(context, builder, kinds[4], sums, at)
        out = v.data(context, builder, kinds[11], out, at)
        scales, minuses = v.broadcast(builder, scale), v.broadcast(builder, minus)
        last = builder.sub(n, INT64(1))

        def write(size: int) -> None:
            totals = [v.load(builder, part) for part in v.parts(builder, sums, size)]
            offsets = [builder.fmul(minuses, total) for total in totals]

            def write_rows(put: Any) -> None:
                def store_row(k: Any, carried: list[Any]) -> list[Any]:
                    *above, place = carried  # of the bit behind: its sum, and where in its ladder it is
                    i = builder.sub(last, k)
                    continues = builder.icmp_signed("!=", place, INT64(0))
                    parts = v.parts(builder, v.address(builder, table, builder.mul(i, table_row)), size)
                    row = [
                        builder.fadd(v.load(builder, part), builder.select(continues, more, v.ZERO))
                        for part, more in zip(parts, above, strict=True)
                    ]
                    results = [v.fma(builder, scales, *pair) for pair in zip(row, offsets, strict=True)]
                    put(results, v.address(builder, out, builder.mul(i, out_row)))
                    before = builder.sub(builder.select(continues, place, steps), INT64(1))
                    begins = builder.icmp_signed("<=", i, ladder_from)
                    return [*row, builder.select(begins, INT64(0), before)]

                # Nothing is behind the last bit, wherever in its ladder that would be.
                behind = builder.srem(builder.sub(n, ladder_from), steps)
                inside = builder.icmp_signed(">", n, ladder_from)
                v.loop(builder, n, [*[v.ZERO] * size, builder.select(inside, behind, INT64(0))], store_row)
                put(totals, v.address(builder, out, builder.mul(n, out_row)))

            v.whole_or_part(builder, left, size, write_rows)

        v.by_size(builder, vectors, _MOST_VECTORS, write)
        return context.get_dummy_value()

    return signature, code


@jit_part
def store_gradient(
    table: Floats,  # [n, columns, padded]: sums over the samples whose lists name a bit
    sums: Floats,  # [1, columns, padded]: sums over all samples, the gradient of the biases
    n: int,
    columns: int,
    signed: int,
    ladder_from: int,
    ladder_steps: int,
    out: Floats,  # [at least (n + 1) * columns]: gradient of the weights, then of the biases
) -> None:
    """The gradient of the weights from that of the table of :func:`load_table`.

    Of inputs -1 / +1 every bit that is not set contributes its negative.
    """
    scale, minus = np.float32(2.0 if signed else 1.0), np.float32(-1.0 if signed else 0.0)
    vectors = table.shape[1] // LANES
    for done in range(0, vectors, _MOST_VECTORS):
        _store_gradient(
            min(vectors - done, _MOST_VECTORS),
            table,
            done * LANES,
            table.shape[1],
            sums,
            n,
            columns - done * LANES,
            scale,
            minus,
            ladder_from,
            ladder_steps,
            out,
            columns,
        )
