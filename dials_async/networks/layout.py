"""The shape of a network, where its parameters lie in one flat vector, and the scratch arrays it computes in.

Two kinds, for policies, critics and AIPs alike:

``mlp``  bits -> h1 tanh [-> h2 tanh] -> out         (h2 = 0 leaves the second layer out)
``gru``  bits [-> h1 tanh] -> GRU(h2) -> out          (h1 = 0 feeds the bits to the GRU directly)

The parameters of one network are one flat float32 vector, so that an agent's whole policy is a row of a
matrix ``[agents, parameters]``: optimiser, clipping, hashing and messages need to know nothing else.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.vectors import LANES, padded, stride

Floats = NDArray[np.float32]

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
    ladder_from: int = 0
    """The bits from here on are ladders (``dials_async.domains.base.AgentSpec``)."""
    ladder_steps: int = 1
    """Bits of a ladder; 1: there are none."""


def most_active(shape: Shape) -> int:
    """The most entries in a list of the active bits of one observation."""
    ladder_bits = shape.n_in - min(shape.ladder_from, shape.n_in)
    return shape.n_in - ladder_bits + -(-ladder_bits // shape.ladder_steps)


def first_width(shape: Shape) -> int:
    """Outputs of the first layer: of the tanh layer, or of the gates of a GRU that reads the bits."""
    return shape.h1 or 3 * shape.h2


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


#: Of a line of the cache, on all processors that we know of.
_LINE_BYTES = 64


class Dense(NamedTuple):
    """The weights of a dense layer as ``products.product`` takes them; ``network.prepare`` fills them in."""

    panels: Floats  # [panels of 16 outputs * inputs, 16]
    bias: Floats  # [1, outputs, padded]
    transposed: Floats  # [panels of 16 inputs * outputs, 16], for the gradient; else empty


class Workspace(NamedTuple):
    """Weights in working order, scratch for up to ``n`` samples; forward leaves here what backward needs.

    Rows are ``vectors.stride`` floats apart. In the activations a1, a2 and hidden the column behind the last
    one is 1: the gradient of a bias is then one more row of the product that gives that of the weights. The
    rows of d1 and d2 are as far apart as those of a1 and a2, which are read at the same places for slopes.
    """

    table: Floats  # [bits, first layer, padded]: what a bit adds to the first layer
    base: Floats  # [1, first layer, padded]: the first layer without any bit
    d_table: Floats  # as table
    middle: Dense  # h1 -> h2 of an MLP, h1 -> 3 h2 of a GRU
    recurrent: Dense  # h2 -> 3 h2
    last: Dense  # -> n_out
    zeros: Floats  # [1, widest layer, padded]
    sums: Floats  # [1, widest layer, padded]
    d_last: Floats  # [n_out, inputs of the last layer + 1]: gradient of the last layer, transposed
    a1: Floats  # [n, h1]
    a2: Floats  # [n, h2], MLP
    gates: Floats  # [n, 3 h2], GRU
    from_hidden: Floats  # [n, 3 h2], GRU
    hidden: Floats  # [n + B, h2], GRU: before the first step, then after each
    out: Floats  # [n, n_out]; behind them, in whole vectors, what weights of 0 give
    d_out: Floats  # [n, n_out]: d loss / d out, to be filled in before backward
    d1: Floats  # [n, h1]; may be a2, which a backward pass then uses up
    d2: Floats  # [n, h2]
    d_gates: Floats  # [n, 3 h2]
    d_from_hidden: Floats  # [n, 3 h2]
    d_hidden: Floats  # [B, h2]


def aligned_zeros(rows: int, columns: int) -> Floats:
    """Zeros, float32, that begin at a line of the cache: vectors then do not cross one."""
    size = rows * columns * 4
    memory = np.zeros(size + _LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE_BYTES
    return memory[start : start + size].view(np.float32).reshape(rows, columns)


def make_workspace(shape: Shape, n_samples: int, n_sequences: int = 0, gradient: bool = True) -> Workspace:
    """Scratch for ``n_samples`` = steps x sequences; ``n_sequences`` matters to a GRU only."""
    floats = aligned_zeros

    def scratch(rows: int, columns: int) -> Floats:
        return floats(rows, stride(columns))

    def activations(rows: int, columns: int) -> Floats:
        array = scratch(rows, columns + 1 if columns else 0)
        array[:, columns : columns + 1] = 1.0
        return array

    def dense(inputs: int, outputs: int) -> Dense:
        return Dense(
            panels=floats(padded(outputs) // LANES * inputs, LANES),
            bias=floats(1, padded(outputs)),
            transposed=floats(padded(inputs) // LANES * outputs if gradient else 0, LANES),
        )

    n, back = n_samples, n_samples if gradient else 0
    gru = shape.kind == GRU
    first, three = first_width(shape), 3 * shape.h2
    widest = padded(max(first, three, shape.h1, shape.n_out) + 1)
    last = shape.h2 or shape.h1

    def gradients(rows: int, columns: int) -> Floats:
        return scratch(rows, columns + 1 if columns else 0)

    a2, d1 = activations(0 if gru else n, shape.h2), gradients(back, shape.h1)
    if a2.shape == d1.shape and shape.h1 == shape.h2:
        d1 = a2  # not needed any more when d1 is computed: less memory to go through
    return Workspace(
        table=floats(shape.n_in, padded(first)),
        base=floats(1, padded(first)),
        d_table=floats(shape.n_in if gradient else 0, padded(first)),
        middle=dense(shape.h1, three if gru else shape.h2),
        recurrent=dense(shape.h2 if gru else 0, three if gru else 0),
        last=dense(last, shape.n_out),
        zeros=floats(1, widest),
        sums=floats(1, widest),
        d_last=scratch(shape.n_out if gradient else 0, last + 1),
        a1=activations(n, shape.h1),
        a2=a2,
        gates=scratch(n if gru else 0, three),
        from_hidden=scratch(n if gru else 0, three),
        hidden=activations(n + n_sequences if gru else 0, shape.h2),
        out=scratch(n, shape.n_out),
        d_out=scratch(back, shape.n_out),
        d1=d1,
        d2=gradients(back, shape.h2),
        d_gates=scratch(back if gru else 0, three),
        d_from_hidden=scratch(back if gru else 0, three),
        d_hidden=scratch(n_sequences if gru else 0, shape.h2),
    )


def share_scratch(ws: Workspace, other: Workspace) -> Workspace:
    """``ws`` with the arrays of ``other`` wherever they are of the same size.

    For networks of which one is done with before the other begins: prepare, forward, backward.
    """

    def sizes(part: Any) -> list[Any]:
        return [array.shape for array in (part if isinstance(part, Dense) else (part,))]

    own, others = ws._asdict(), other._asdict()  # of equal h1 and h2: the column of ones is behind them
    return ws._replace(**{name: others[name] for name in own if sizes(own[name]) == sizes(others[name])})
