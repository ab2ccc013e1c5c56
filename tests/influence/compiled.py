"""Kernels around the inlined functions, which cannot be called from Python by themselves."""

import numpy as np
from numpy.typing import NDArray

from dials_async.influence.training import _cross_entropy
from dials_async.kernels.compile import jit
from dials_async.networks.layout import Shape, Workspace
from dials_async.networks.network import backward, clear_hidden, forward, prepare

Floats = NDArray[np.float32]


@jit
def loss_and_gradient(
    s: Shape,
    p: Floats,
    n_classes: int,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    rows: NDArray[np.int32],
    steps: int,
    sequences: int,
    influence: NDArray[np.uint8],
    ws: Workspace,
    gradient: Floats,
) -> float:
    """Mean cross-entropy of one minibatch from a zero hidden state, and its gradient."""
    n = steps * sequences
    log_totals = np.zeros((n, s.n_out // n_classes), dtype=np.float32)
    clear_hidden(s, sequences, ws)
    prepare(s, p, ws)
    forward(s, indices, counts, steps, sequences, ws)
    ce = _cross_entropy(s, n_classes, influence, rows, n, ws, np.zeros_like(ws.out), log_totals, True)
    backward(s, indices, counts, steps, sequences, ws, gradient)
    return ce
