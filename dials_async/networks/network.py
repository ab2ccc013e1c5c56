"""Forward pass and gradient of a network on binary observations, compiled (kinds and layout: ``layout.py``).

Samples are time-major: row t * B + b is step t of sequence b. An MLP does not care.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import jit, jit_leaf, jit_part
from dials_async.kernels.functions import tanh_rows
from dials_async.kernels.products import product
from dials_async.kernels.rows import add_rows, column_sums
from dials_async.kernels.vectors import LANES, NARROW
from dials_async.networks.layers import (
    bits_gradient,
    dense_backward,
    dense_forward,
    gru_cell,
    gru_cell_gradient,
    load_bias,
    load_bits,
    load_dense,
    weight_gradient,
)
from dials_async.networks.layout import GRU, MLP, Floats, Shape, Workspace


@jit_leaf
def _width(s: Shape) -> int:
    """Outputs of the first layer."""
    return s.h1 if s.h1 > 0 else 3 * s.h2


@jit_part
def prepare(s: Shape, p: Floats, ws: Workspace) -> None:
    """Compute what depends on the parameters alone; call it whenever they changed."""
    load_bits(s, p, _width(s), ws)
    at = (s.n_in + 1) * _width(s)
    last = s.h1
    if s.kind == GRU:
        last, three = s.h2, 3 * s.h2
        if s.h1 > 0:
            load_dense(p, at, s.h1, three, ws.middle)
            load_bias(p, at + s.h1 * three, three, ws.middle.bias, 0)
            at += (s.h1 + 1) * three
        load_dense(p, at, s.h2, three, ws.recurrent)
        at += s.h2 * three
        load_bias(p, at, s.h2, ws.recurrent.bias, 2 * s.h2)
        at += s.h2
    elif s.h2 > 0:
        last = s.h2
        load_dense(p, at, s.h1, s.h2, ws.middle)
        load_bias(p, at + s.h1 * s.h2, s.h2, ws.middle.bias, 0)
        at += (s.h1 + 1) * s.h2
    load_dense(p, at, last, s.n_out, ws.last)
    load_bias(p, at + last * s.n_out, s.n_out, ws.last.bias, 0)


@jit_leaf
def _output(s: Shape, x: Floats, first: int, rows: int, inputs: int, ws: Workspace) -> None:
    """The last layer, to whole vectors of ``ws.out``: processors of AMD take long to store a part of one."""
    columns = NARROW if s.n_out <= NARROW else ws.last.bias.shape[1]
    dense_forward(x, first, rows, inputs, ws.last, columns, ws.out, 0)


@jit_part
def forward(
    s: Shape,
    indices: NDArray[np.int16],  # [steps * sequences, most]: active bits (``kernels.bits``)
    counts: NDArray[np.int32],  # [steps * sequences]
    steps: int,
    sequences: int,
    ws: Workspace,  # prepared
) -> None:
    """Outputs to ``ws.out`` [steps * sequences, n_out]; a GRU starts from ``ws.hidden[:sequences]``."""
    n = steps * sequences
    three = 3 * s.h2
    if s.h1 > 0:
        add_rows(ws.table, indices, counts, n, ws.base, ws.a1)
        tanh_rows(ws.a1, n, s.h1)
    else:
        add_rows(ws.table, indices, counts, n, ws.base, ws.gates)
    if s.kind == MLP:
        if s.h2 > 0:
            dense_forward(ws.a1, 0, n, s.h1, ws.middle, s.h2, ws.a2, 0)
            tanh_rows(ws.a2, n, s.h2)
            _output(s, ws.a2, 0, n, s.h2, ws)
        else:
            _output(s, ws.a1, 0, n, s.h1, ws)
        return
    if s.h1 > 0:
        dense_forward(ws.a1, 0, n, s.h1, ws.middle, three, ws.gates, 0)
    for t in range(steps):
        first = t * sequences
        dense_forward(ws.hidden, first, sequences, s.h2, ws.recurrent, three, ws.from_hidden, first)
        gru_cell(s.h2, first, sequences, ws)
    _output(s, ws.hidden, sequences, n, s.h2, ws)


@jit_part
def backward(
    s: Shape,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    steps: int,
    sequences: int,
    ws: Workspace,  # after forward of the same samples, with ``ws.d_out``
    gradient: Floats,  # [parameters], out
) -> None:
    """Gradient of a loss with respect to the parameters, after :func:`forward` of the same samples.

    A GRU's hidden state before the first step counts as a constant (truncated backpropagation).
    """
    n = steps * sequences
    if s.kind == MLP:
        if s.h2 > 0:
            _last_gradient(s, ws.a2, 0, s.h2, n, ws, gradient)
            dense_backward(ws.d_out, 0, n, s.n_out, ws.last, s.h2, ws.zeros, True, ws.a2, ws.d2, 0)
            at = (s.n_in + 1) * s.h1
            weight_gradient(ws.a1, n, s.h1 + 1, ws.d2, s.h2, ws.zeros, gradient, at, s.h2)
            dense_backward(ws.d2, 0, n, s.h2, ws.middle, s.h1, ws.zeros, True, ws.a1, ws.d1, 0)
        else:
            _last_gradient(s, ws.a1, 0, s.h1, n, ws, gradient)
            dense_backward(ws.d_out, 0, n, s.n_out, ws.last, s.h1, ws.zeros, True, ws.a1, ws.d1, 0)
        bits_gradient(s, indices, counts, n, ws.d1, s.h1, ws, gradient)
        return
    three = 3 * s.h2
    _last_gradient(s, ws.hidden, sequences, s.h2, n, ws, gradient)
    dense_backward(ws.d_out, 0, n, s.n_out, ws.last, s.h2, ws.zeros, False, ws.hidden, ws.d2, 0)
    for t in range(steps - 1, -1, -1):
        first = t * sequences
        if t < steps - 1:
            for b in range(sequences):
                for k in range(s.h2):
                    ws.d2[first + b, k] += ws.d_hidden[b, k]
        gru_cell_gradient(s.h2, first, sequences, ws)
        if t > 0:
            dense_backward(
                ws.d_from_hidden,
                first,
                sequences,
                three,
                ws.recurrent,
                s.h2,
                ws.zeros,
                False,
                ws.hidden,
                ws.d_hidden,
                0,
            )
            for b in range(sequences):
                for k in range(s.h2):
                    ws.d_hidden[b, k] += ws.d2[first + b, k]
    at = (s.n_in + 1) * _width(s)
    if s.h1 > 0:
        weight_gradient(ws.a1, n, s.h1 + 1, ws.d_gates, three, ws.zeros, gradient, at, three)
        dense_backward(ws.d_gates, 0, n, three, ws.middle, s.h1, ws.zeros, True, ws.a1, ws.d1, 0)
        bits_gradient(s, indices, counts, n, ws.d1, s.h1, ws, gradient)
        at += (s.h1 + 1) * three
    else:
        bits_gradient(s, indices, counts, n, ws.d_gates, three, ws, gradient)
    weight_gradient(ws.hidden, n, s.h2, ws.d_from_hidden, three, ws.zeros, gradient, at, three)
    column_sums(ws.d_from_hidden, n, three, ws.sums)
    at += s.h2 * three
    for k in range(s.h2):
        gradient[at + k] = ws.sums[0, 2 * s.h2 + k]


@jit_part
def _last_gradient(
    s: Shape, x: Floats, first: int, size: int, n: int, ws: Workspace, gradient: Floats
) -> None:
    """Gradient of the last layer, whose inputs [n, size] are ``x`` from row ``first`` on.

    There are few outputs and many inputs: lanes are inputs, and the result is the transpose of the block.
    """
    product(
        s.n_out,
        n,
        size + 1,
        ws.d_out,
        0,
        1,
        ws.d_out.shape[1],
        x,
        first * x.shape[1],
        LANES,
        x.shape[1],
        ws.zeros,
        0,
        False,
        ws.zeros,
        ws.d_last,
        0,
        ws.d_last.shape[1],
    )
    at = gradient.shape[0] - (size + 1) * s.n_out
    for i in range(size + 1):  # behind the inputs there is a column of ones: the bias
        for k in range(s.n_out):
            gradient[at + i * s.n_out + k] = ws.d_last[k, i]


@jit
def evaluate(
    s: Shape,
    p: Floats,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    steps: int,
    sequences: int,
    ws: Workspace,
) -> None:
    """Forward pass from a zero hidden state, as a kernel of its own."""
    if s.kind == GRU:
        clear_hidden(s, sequences, ws)
    prepare(s, p, ws)
    forward(s, indices, counts, steps, sequences, ws)


@jit_leaf
def clear_hidden(s: Shape, sequences: int, ws: Workspace) -> None:
    """A GRU's hidden state at the start of episodes."""
    for b in range(sequences):
        for k in range(s.h2):
            ws.hidden[b, k] = 0.0


@jit_leaf
def keep_hidden(s: Shape, sequences: int, ws: Workspace) -> None:
    """Go on from the state after one step."""
    for b in range(sequences):
        for k in range(s.h2):
            ws.hidden[b, k] = ws.hidden[sequences + b, k]


@jit
def evaluate_gradient(
    s: Shape,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    steps: int,
    sequences: int,
    ws: Workspace,
    gradient: Floats,
) -> None:
    """Gradient after :func:`evaluate` of the same samples, as a kernel of its own."""
    backward(s, indices, counts, steps, sequences, ws, gradient)
