"""Layers of the compiled networks: first layer on bits, dense layer, GRU cell; forward and gradient.

All arrays are float32, [rows, columns] with rows ``vectors.stride`` apart.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.arithmetic import fma
from dials_async.kernels.compile import jit_leaf, jit_part
from dials_async.kernels.functions import sigmoid, tanh
from dials_async.kernels.ladders import load_table, store_gradient
from dials_async.kernels.panels import load_panels
from dials_async.kernels.products import product
from dials_async.kernels.rows import add_to_rows, column_sums
from dials_async.kernels.vectors import LANES
from dials_async.networks.layout import Dense, Floats, Shape, Workspace

_ONE = np.float32(1.0)


@jit_leaf
def load_dense(p: Floats, at: int, inputs: int, outputs: int, dense: Dense) -> None:
    """Take the weights [inputs, outputs] at ``p[at:]`` into a dense layer."""
    load_panels(p, at, inputs, outputs, dense.panels, dense.transposed)


@jit_leaf
def load_bias(p: Floats, at: int, outputs: int, bias: Floats, first: int) -> None:
    """Put the biases [outputs] at ``p[at:]`` into ``bias[0, first:]``."""
    for k in range(outputs):
        bias[0, first + k] = p[at + k]


@jit_leaf
def dense_forward(
    x: Floats, first: int, rows: int, inputs: int, dense: Dense, outputs: int, out: Floats, out_first: int
) -> None:
    """``rows`` rows of out = x weights + bias, from the rows ``first`` of x and ``out_first`` of out."""
    product(
        rows,
        inputs,
        outputs,
        x,
        first * x.shape[1],
        x.shape[1],
        1,
        dense.panels,
        0,
        inputs * LANES,
        LANES,
        dense.bias,
        LANES,
        False,
        dense.bias,
        out,
        out_first * out.shape[1],
        out.shape[1],
    )


@jit_leaf
def dense_backward(
    d_out: Floats,
    first: int,
    rows: int,
    outputs: int,
    dense: Dense,
    inputs: int,
    zeros: Floats,
    slopes: bool,
    activation: Floats,
    d_x: Floats,
    d_first: int,
) -> None:
    """``rows`` rows of d_x = d_out weights^T, from the rows ``first`` of d_out and ``d_first`` of d_x.

    With ``slopes`` it is multiplied by those of ``activation`` = tanh(y), whose rows are read at the places
    of d_x: the result is d_y.
    """
    product(
        rows,
        outputs,
        inputs,
        d_out,
        first * d_out.shape[1],
        d_out.shape[1],
        1,
        dense.transposed,
        0,
        outputs * LANES,
        LANES,
        zeros,
        0,
        slopes,
        activation,
        d_x,
        d_first * d_x.shape[1],
        d_x.shape[1],
    )


@jit_leaf
def weight_gradient(
    x: Floats,
    samples: int,
    rows: int,
    d_out: Floats,
    outputs: int,
    zeros: Floats,
    out: Floats,
    at: int,
    out_row: int,
) -> None:
    """x^T d_out over the first ``samples``, ``rows`` columns of x, to places from ``at`` in ``out``.

    With one row more than x has inputs, the gradient of the bias comes behind that of the weights.
    """
    product(
        rows,
        samples,
        outputs,
        x,
        0,
        1,
        x.shape[1],
        d_out,
        0,
        LANES,
        d_out.shape[1],
        zeros,
        0,
        False,
        zeros,
        out,
        at,
        out_row,
    )


@jit_part
def load_bits(s: Shape, p: Floats, columns: int, ws: Workspace) -> None:
    """The first layer as sums of rows: what each bit adds, and what is there without any."""
    load_table(p, s.n_in, columns, s.signed, s.ladder_from, s.ladder_steps, ws.table, ws.base)
    if columns < ws.base.shape[1]:
        ws.base[0, columns] = _ONE  # the column of ones


@jit_part
def bits_gradient(
    s: Shape,
    indices: NDArray[np.int16],  # [n, most], active bits
    counts: NDArray[np.int32],  # [n]
    n: int,
    d_out: Floats,  # [n, columns]
    columns: int,
    ws: Workspace,
    gradient: Floats,  # [parameters], out: its first blocks, weight and bias
) -> None:
    """Gradient of the first layer by weights and bias."""
    for i in range(ws.d_table.shape[0]):
        for k in range(ws.d_table.shape[1]):
            ws.d_table[i, k] = 0.0
    add_to_rows(ws.d_table, indices, counts, n, d_out)
    column_sums(d_out, n, columns, ws.sums)
    store_gradient(ws.d_table, ws.sums, s.n_in, columns, s.signed, s.ladder_from, s.ladder_steps, gradient)


@jit_part
def gru_cell(size: int, first: int, n: int, ws: Workspace) -> None:
    """One step of a GRU (Cho et al., 2014, in the variant of cuDNN): n = tanh(x_n + r (h_n + b_n)).

    Samples ``first`` .. ``first + n - 1``, which follow the hidden states in the same rows: ``ws.gates``
    holds the input's part of the gates r, z, n and becomes their activations; ``ws.from_hidden`` is h Wh,
    with b_n.
    """
    for i in range(first, first + n):
        for k in range(2 * size):
            ws.gates[i, k] = sigmoid(ws.gates[i, k] + ws.from_hidden[i, k])
        for k in range(size):
            ws.gates[i, 2 * size + k] = tanh(
                fma(ws.gates[i, k], ws.from_hidden[i, 2 * size + k], ws.gates[i, 2 * size + k])
            )
        for k in range(size):
            candidate = ws.gates[i, 2 * size + k]
            ws.hidden[i + n, k] = fma(ws.gates[i, size + k], ws.hidden[i, k] - candidate, candidate)


@jit_part
def gru_cell_gradient(size: int, first: int, n: int, ws: Workspace) -> None:
    """Gradient of :func:`gru_cell`: ``ws.d2``, d loss / d output, becomes the direct part of d loss / d h.

    Writes ``ws.d_gates``, d loss / d input part, and ``ws.d_from_hidden``, d loss / d (h Wh).
    """
    gates, from_hidden, d_gates, d_from_hidden = ws.gates, ws.from_hidden, ws.d_gates, ws.d_from_hidden
    for i in range(first, first + n):
        for k in range(size):
            r, z, n_gate = gates[i, k], gates[i, size + k], gates[i, 2 * size + k]
            d = ws.d2[i, k]
            d_n = d * (_ONE - z) * fma(-n_gate, n_gate, _ONE)
            d_z = d * (ws.hidden[i, k] - n_gate) * z * (_ONE - z)
            d_r = d_n * from_hidden[i, 2 * size + k] * r * (_ONE - r)
            d_gates[i, k] = d_r
            d_gates[i, size + k] = d_z
            d_gates[i, 2 * size + k] = d_n
            d_from_hidden[i, k] = d_r
            d_from_hidden[i, size + k] = d_z
            d_from_hidden[i, 2 * size + k] = d_n * r
            ws.d2[i, k] = d * z
