"""A network on binary observations: shape, parameter layout, forward pass and gradient, compiled.

Two kinds, for policies, critics and AIPs alike:

``mlp``  bits -> h1 tanh [-> h2 tanh] -> out         (h2 = 0 leaves the second layer out)
``gru``  bits [-> h1 tanh] -> GRU(h2) -> out          (h1 = 0 feeds the bits to the GRU directly)

The parameters of one network are one flat float32 vector, so that an agent's whole policy is a row of a
matrix ``[agents, parameters]``: optimiser, clipping, hashing and messages need to know nothing else.
Samples are time-major: row t * B + b is step t of sequence b. An MLP does not care.
"""

from typing import NamedTuple

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

MLP, GRU = 0, 1


class Shape(NamedTuple):
    """Sizes of one network."""

    kind: int
    """MLP or GRU."""
    n_in: int
    """Bits of the input."""
    h1: int
    h2: int
    n_out: int
    signed: int
    """1: inputs are scaled to -1 / +1 as the paper's AIP does; 0: inputs are 0 / 1."""


def blocks(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameter blocks, in the order of the flat vector."""
    layout: dict[str, tuple[int, ...]] = {}
    if shape.kind == MLP:
        layout["w1"], layout["b1"] = (shape.n_in, shape.h1), (shape.h1,)
        last = shape.h1
        if shape.h2:
            layout["w2"], layout["b2"] = (shape.h1, shape.h2), (shape.h2,)
            last = shape.h2
    else:
        last = shape.n_in
        if shape.h1:
            layout["w1"], layout["b1"] = (shape.n_in, shape.h1), (shape.h1,)
            last = shape.h1
        layout["wx"], layout["bx"] = (last, 3 * shape.h2), (3 * shape.h2,)
        layout["wh"], layout["bn"] = (shape.h2, 3 * shape.h2), (shape.h2,)
        last = shape.h2
    layout["wo"], layout["bo"] = (last, shape.n_out), (shape.n_out,)
    return layout


def n_parameters(shape: Shape) -> int:
    """Length of the flat parameter vector."""
    return sum(int(np.prod(size)) for size in blocks(shape).values())


def split(shape: Shape, parameters: Floats) -> dict[str, Floats]:
    """Views of the blocks of a flat vector (for tests, other frameworks and reading by people)."""
    views, start = {}, 0
    for name, size in blocks(shape).items():
        stop = start + int(np.prod(size))
        views[name] = parameters[start:stop].reshape(size)
        start = stop
    return views


class Workspace(NamedTuple):
    """Scratch arrays of one network for up to ``n`` samples; forward leaves here what the gradient needs."""

    base: Floats  # [first layer]
    a1: Floats  # [n, h1]
    a2: Floats  # [n, h2], MLP
    gates: Floats  # [n, 3 h2], GRU
    from_hidden: Floats  # [n, 3 h2], GRU
    hidden: Floats  # [n + B, h2], GRU: before the first step, then after each
    out: Floats  # [n, n_out]
    d1: Floats  # [n, h1]
    d2: Floats  # [n, h2]
    d_gates: Floats  # [n, 3 h2]
    d_from_hidden: Floats  # [n, 3 h2]
    d_hidden: Floats  # [B, h2]


def make_workspace(shape: Shape, n_samples: int, n_sequences: int = 0, gradient: bool = True) -> Workspace:
    """Scratch for ``n_samples`` = steps x sequences; ``n_sequences`` matters to a GRU only."""

    def floats(rows: int, columns: int) -> Floats:
        return np.zeros((rows, columns), dtype=np.float32)

    n, back = n_samples, n_samples if gradient else 0
    gru = shape.kind == GRU
    return Workspace(
        base=np.zeros(shape.h1 or 3 * shape.h2, dtype=np.float32),
        a1=floats(n, shape.h1),
        a2=floats(0 if gru else n, shape.h2),
        gates=floats(n if gru else 0, 3 * shape.h2),
        from_hidden=floats(n if gru else 0, 3 * shape.h2),
        hidden=floats(n + n_sequences if gru else 0, shape.h2),
        out=floats(n, shape.n_out),
        d1=floats(back, shape.h1),
        d2=floats(back, shape.h2),
        d_gates=floats(back if gru else 0, 3 * shape.h2),
        d_from_hidden=floats(back if gru else 0, 3 * shape.h2),
        d_hidden=floats(n_sequences if gru else 0, shape.h2),
    )


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
