"""Matrices in panels of 16 columns, as products take them: copies and transposes, compiled."""

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


@llvm_code
def _copy_panel(typing_context, source, source_at, source_row, rows, columns, out, out_at):
    """The first ``columns`` (16 at the most) of some rows, one behind the other."""
    signature = types.void(source, *[_PLACE] * 4, out, _PLACE)

    def code(context, builder, signature, values):
        source, source_at, source_row, rows, columns, out, out_at = values
        source = v.data(context, builder, signature.args[0], source, source_at)
        out = v.data(context, builder, signature.args[5], out, out_at)

        def write(get: Any) -> None:
            def copy(i: Any, _: list[Any]) -> list[Any]:
                (row,) = get(v.address(builder, source, builder.mul(i, source_row)))
                v.store(builder, row, v.address(builder, out, builder.mul(i, INT64(LANES))))
                return []

            v.loop(builder, rows, [], copy)

        v.read_whole_or_part(builder, columns, 1, write)
        return context.get_dummy_value()

    return signature, code


@llvm_code
def _transpose_block(typing_context, source, source_at, source_row, rows, columns, out, out_at):
    """A block of 16 x 16 elements, of which the first ``rows`` and ``columns`` are there, turned over."""
    signature = types.void(source, *[_PLACE] * 4, out, _PLACE)

    def code(context, builder, signature, values):
        source, source_at, source_row, rows, columns, out, out_at = values
        source = v.data(context, builder, signature.args[0], source, source_at)
        out = v.data(context, builder, signature.args[5], out, out_at)
        lines = []
        for row in range(LANES):
            there = builder.select(builder.icmp_signed("<", INT64(row), rows), columns, INT64(0))
            place = v.address(builder, source, builder.mul(source_row, INT64(row)))
            lines.append(v.load_part(builder, place, v.first_lanes(builder, there)))
        half = LANES // 2
        while half:  # swap the upper right with the lower left quarter of each block, then of its quarters
            for row in range(LANES):
                if not row & half:
                    a, b = lines[row], lines[row + half]
                    upper = [lane + LANES - half if lane & half else lane for lane in range(LANES)]
                    lower = [lane + LANES if lane & half else lane + half for lane in range(LANES)]
                    lines[row] = v.lanes_of(builder, a, b, upper)
                    lines[row + half] = v.lanes_of(builder, a, b, lower)
            half //= 2
        for column, line in enumerate(lines):
            with builder.if_then(builder.icmp_signed("<", INT64(column), columns)):
                v.store(builder, line, v.address(builder, out, INT64(column * LANES)))
        return context.get_dummy_value()

    return signature, code


@jit_part
def load_panels(w: Floats, at: int, inputs: int, outputs: int, panels: Floats, transposed: Floats) -> None:
    """Put the matrix [inputs, outputs] at ``w[at:]`` into panels.

    ``panels`` are of 16 outputs, [panels * inputs, 16]; ``transposed``, unless empty, of 16 inputs,
    [panels * outputs, 16].
    """
    for output in range(0, outputs, LANES):
        columns = min(LANES, outputs - output)
        _copy_panel(w, at + output, outputs, inputs, columns, panels, output * inputs)
        if transposed.shape[0] > 0:
            for row in range(0, inputs, LANES):
                place = row * outputs + output * LANES
                _transpose_block(
                    w,
                    at + row * outputs + output,
                    outputs,
                    min(LANES, inputs - row),
                    columns,
                    transposed,
                    place,
                )
