"""Kernels around the inlined functions, which cannot be called from Python by themselves."""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import jit
from dials_async.networks.adam import adam_step
from dials_async.networks.layers import fast_sigmoid, fast_tanh
from dials_async.networks.layout import Shape, Workspace
from dials_async.networks.network import forward, prepare
from dials_async.networks.sampling import fast_exp, softmax_part

Floats = NDArray[np.float32]


@jit
def tanh_each(x: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = fast_tanh(x[k])


@jit
def sigmoid_each(x: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = fast_sigmoid(x[k])


@jit
def exp_each(x: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = fast_exp(x[k])


@jit
def softmax_sum(logits: Floats, weights: Floats) -> float:
    """Sum of the unnormalised probabilities of ``logits`` [1, n]."""
    _, total = softmax_part(logits, 0, 0, logits.shape[1], weights)
    return float(total)


@jit
def adam(
    parameters: Floats,
    m: Floats,
    v: Floats,
    step: int,
    rate: float,
    eps: float,
    gradient: Floats,
    limit: float,
) -> float:
    return adam_step(parameters, m, v, step, rate, eps, gradient, limit)


@jit
def forward_on(
    s: Shape,
    p: Floats,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    rows: NDArray[np.int32],
    steps: int,
    sequences: int,
    ws: Workspace,
) -> None:
    """Forward pass from the hidden state that ``ws.hidden`` holds."""
    prepare(s, p, ws)
    forward(s, p, indices, counts, rows, steps, sequences, ws)
