"""The shape of a network, where its parameters lie in one flat vector, and the scratch arrays it computes in.

Two kinds, for policies, critics and AIPs alike:

``mlp``  bits -> h1 tanh [-> h2 tanh] -> out         (h2 = 0 leaves the second layer out)
``gru``  bits [-> h1 tanh] -> GRU(h2) -> out          (h1 = 0 feeds the bits to the GRU directly)

The parameters of one network are one flat float32 vector, so that an agent's whole policy is a row of a
matrix ``[agents, parameters]``: optimiser, clipping, hashing and messages need to know nothing else.
"""

from typing import NamedTuple

import numpy as np

from dials_async.networks.layers import Floats

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
