"""Forward pass and gradient of a network on binary observations, compiled (kinds and layout: ``layout.py``).

Samples are time-major: row t * B + b is step t of sequence b. An MLP does not care.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import jit, jit_inline, jit_part
from dials_async.networks.layers import (
    Floats,
    add_column_sums,
    dense,
    gru_cell,
    gru_cell_gradient,
    signed_base,
    sparse_affine,
    sparse_affine_gradient,
    tanh_all,
    tanh_gradient,
)
from dials_async.networks.layout import GRU, MLP, Shape, Workspace


@jit_inline
def _block(p: Floats, start: int, rows: int, columns: int) -> Floats:
    return p[start : start + rows * columns].reshape((rows, columns))


@jit_part
def prepare(s: Shape, p: Floats, ws: Workspace) -> None:
    """Compute what depends on the parameters alone; call it whenever they changed."""
    width = ws.base.shape[0]
    weight = _block(p, 0, s.n_in, width)
    bias = p[s.n_in * width : (s.n_in + 1) * width]
    if s.signed:
        signed_base(weight, bias, ws.base)
    else:
        ws.base[:] = bias


@jit_part
def forward(
    s: Shape,
    p: Floats,  # [parameters]
    indices: NDArray[np.int16],  # [table rows, bits]
    counts: NDArray[np.int32],  # [table rows]
    rows: NDArray[np.int32],  # [steps * sequences]
    steps: int,
    sequences: int,
    ws: Workspace,
) -> None:
    """Outputs to ``ws.out`` [steps * sequences, n_out]; a GRU starts from ``ws.hidden[:sequences]``."""
    n = steps * sequences
    scale = np.float32(2.0) if s.signed else np.float32(1.0)
    width = ws.base.shape[0]
    first = _block(p, 0, s.n_in, width)
    at = (s.n_in + 1) * width
    if s.kind == MLP:
        sparse_affine(indices, counts, rows, first, ws.base, scale, ws.a1[:n])
        tanh_all(ws.a1[:n])
        if s.h2 > 0:
            dense(
                ws.a1[:n], _block(p, at, s.h1, s.h2), p[at + s.h1 * s.h2 : at + (s.h1 + 1) * s.h2], ws.a2[:n]
            )
            tanh_all(ws.a2[:n])
            at += (s.h1 + 1) * s.h2
            dense(ws.a2[:n], _block(p, at, s.h2, s.n_out), p[at + s.h2 * s.n_out :], ws.out[:n])
        else:
            dense(ws.a1[:n], _block(p, at, s.h1, s.n_out), p[at + s.h1 * s.n_out :], ws.out[:n])
        return
    three = 3 * s.h2
    if s.h1 > 0:
        sparse_affine(indices, counts, rows, first, ws.base, scale, ws.a1[:n])
        tanh_all(ws.a1[:n])
        dense(
            ws.a1[:n],
            _block(p, at, s.h1, three),
            p[at + s.h1 * three : at + (s.h1 + 1) * three],
            ws.gates[:n],
        )
        at += (s.h1 + 1) * three
    else:
        sparse_affine(indices, counts, rows, first, ws.base, scale, ws.gates[:n])
    hidden_weight = _block(p, at, s.h2, three)
    at += s.h2 * three
    bias_n = p[at : at + s.h2]
    at += s.h2
    for t in range(steps):
        now, then = t * sequences, (t + 1) * sequences
        np.dot(ws.hidden[now:then], hidden_weight, ws.from_hidden[now:then])
        gru_cell(
            ws.gates[now:then],
            ws.from_hidden[now:then],
            bias_n,
            ws.hidden[now:then],
            ws.hidden[then : then + sequences],
        )
    dense(
        ws.hidden[sequences : sequences + n],
        _block(p, at, s.h2, s.n_out),
        p[at + s.h2 * s.n_out :],
        ws.out[:n],
    )


@jit_part
def backward(
    s: Shape,
    p: Floats,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    rows: NDArray[np.int32],
    steps: int,
    sequences: int,
    ws: Workspace,
    d_out: Floats,  # [steps * sequences, n_out]
    gradient: Floats,  # [parameters], out
) -> None:
    """Gradient of a loss with respect to the parameters, after :func:`forward` of the same samples.

    A GRU's hidden state before the first step counts as a constant (truncated backpropagation).
    """
    n = steps * sequences
    scale = np.float32(2.0) if s.signed else np.float32(1.0)
    width = ws.base.shape[0]
    d_first = _block(gradient, 0, s.n_in, width)
    d_first_bias = gradient[s.n_in * width : (s.n_in + 1) * width]
    at = (s.n_in + 1) * width
    if s.kind == MLP:
        last, d_last, size = ws.a1[:n], ws.d1[:n], s.h1
        second = at
        if s.h2 > 0:
            last, d_last, size = ws.a2[:n], ws.d2[:n], s.h2
            at += (s.h1 + 1) * s.h2
        np.dot(last.T, d_out, _block(gradient, at, size, s.n_out))
        add_column_sums(d_out, gradient[at + size * s.n_out :])
        np.dot(d_out, _block(p, at, size, s.n_out).T, d_last)
        tanh_gradient(last, d_last)
        if s.h2 > 0:
            np.dot(ws.a1[:n].T, d_last, _block(gradient, second, s.h1, s.h2))
            add_column_sums(d_last, gradient[second + s.h1 * s.h2 : second + (s.h1 + 1) * s.h2])
            np.dot(d_last, _block(p, second, s.h1, s.h2).T, ws.d1[:n])
            tanh_gradient(ws.a1[:n], ws.d1[:n])
        sparse_affine_gradient(indices, counts, rows, ws.d1[:n], scale, d_first, d_first_bias)
        return
    three = 3 * s.h2
    input_at = at
    if s.h1 > 0:
        at += (s.h1 + 1) * three
    hidden_at = at
    hidden_weight = _block(p, at, s.h2, three)
    at += s.h2 * three
    bias_at = at
    at += s.h2
    after = ws.hidden[sequences : sequences + n]
    np.dot(after.T, d_out, _block(gradient, at, s.h2, s.n_out))
    add_column_sums(d_out, gradient[at + s.h2 * s.n_out :])
    np.dot(d_out, _block(p, at, s.h2, s.n_out).T, ws.d2[:n])
    carried = ws.d_hidden[:sequences]
    carried[:] = 0.0
    for t in range(steps - 1, -1, -1):
        now, then = t * sequences, (t + 1) * sequences
        d_step = ws.d2[now:then]
        for b in range(sequences):
            for k in range(s.h2):
                d_step[b, k] += carried[b, k]
        gru_cell_gradient(
            ws.gates[now:then],
            ws.from_hidden[now:then],
            ws.hidden[now:then],
            d_step,
            ws.d_gates[now:then],
            ws.d_from_hidden[now:then],
        )
        np.dot(ws.d_from_hidden[now:then], hidden_weight.T, carried)
        for b in range(sequences):
            for k in range(s.h2):
                carried[b, k] += d_step[b, k]
    np.dot(ws.hidden[:n].T, ws.d_from_hidden[:n], _block(gradient, hidden_at, s.h2, three))
    d_bias_n = gradient[bias_at : bias_at + s.h2]
    d_bias_n[:] = 0.0
    for i in range(n):
        for k in range(s.h2):
            d_bias_n[k] += ws.d_from_hidden[i, 2 * s.h2 + k]
    if s.h1 > 0:
        np.dot(ws.a1[:n].T, ws.d_gates[:n], _block(gradient, input_at, s.h1, three))
        add_column_sums(ws.d_gates[:n], gradient[input_at + s.h1 * three : input_at + (s.h1 + 1) * three])
        np.dot(ws.d_gates[:n], _block(p, input_at, s.h1, three).T, ws.d1[:n])
        tanh_gradient(ws.a1[:n], ws.d1[:n])
        sparse_affine_gradient(indices, counts, rows, ws.d1[:n], scale, d_first, d_first_bias)
    else:
        sparse_affine_gradient(indices, counts, rows, ws.d_gates[:n], scale, d_first, d_first_bias)


@jit
def evaluate(
    s: Shape,
    p: Floats,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    rows: NDArray[np.int32],
    steps: int,
    sequences: int,
    ws: Workspace,
) -> None:
    """Forward pass from a zero hidden state, as a kernel of its own."""
    ws.hidden[: sequences if s.kind == GRU else 0] = 0.0
    prepare(s, p, ws)
    forward(s, p, indices, counts, rows, steps, sequences, ws)


@jit
def evaluate_gradient(
    s: Shape,
    p: Floats,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    rows: NDArray[np.int32],
    steps: int,
    sequences: int,
    ws: Workspace,
    d_out: Floats,
    gradient: Floats,
) -> None:
    """Gradient after :func:`evaluate` of the same samples, as a kernel of its own."""
    backward(s, p, indices, counts, rows, steps, sequences, ws, d_out, gradient)
