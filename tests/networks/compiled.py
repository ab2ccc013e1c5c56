"""Kernels around the inlined functions, which cannot be called from Python by themselves."""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import jit
from dials_async.kernels.functions import exp, log, sigmoid, tanh, tanh_rows
from dials_async.networks.adam import adam_step
from dials_async.networks.layout import Shape, Workspace
from dials_async.networks.network import forward, prepare
from dials_async.networks.sampling import softmax

Floats = NDArray[np.float32]


@jit
def tanh_each(x: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = tanh(x[k])


@jit
def tanh_in(x: Floats, rows: int, columns: int) -> None:
    tanh_rows(x, rows, columns)


@jit
def sigmoid_each(x: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = sigmoid(x[k])


@jit
def exp_each(x: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = exp(x[k])


@jit
def log_each(x: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = log(x[k])


@jit
def softmax_rows(logits: Floats, n_parts: int, n_classes: int, weights: Floats, log_totals: Floats) -> None:
    softmax(logits, logits.shape[0], n_parts, n_classes, weights, log_totals)


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
    steps: int,
    sequences: int,
    ws: Workspace,
) -> None:
    """Forward pass from the hidden state that ``ws.hidden`` holds."""
    prepare(s, p, ws)
    forward(s, indices, counts, steps, sequences, ws)
