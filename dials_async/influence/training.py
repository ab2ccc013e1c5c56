"""Training of one agent's AIP on recorded episodes (Algorithm 1, line 5), compiled.

The AIP is a classifier: after every step of the d-set's history it predicts the class of each influence
source, and is trained on the cross-entropy (paper, section 3.2). A GRU reads whole episodes, a
feed-forward AIP single steps. Training stops early on held-out episodes and keeps the best weights.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import unpack_active
from dials_async.kernels.compile import Scalar, jit, jit_part
from dials_async.kernels.rng import shuffle
from dials_async.networks.adam import adam_step
from dials_async.networks.layout import GRU, Shape, Workspace, make_workspace
from dials_async.networks.network import backward, forward, prepare
from dials_async.networks.sampling import softmax_part

Floats = NDArray[np.float32]

#: The part of the episodes that AIPs never train on (paper, appendix I: 10 %).
HELD_OUT_SHARE = 0.1

#: Gradients of an AIP are clipped to this norm: a GRU over 100 steps has rare steep ones.
MAX_GRADIENT_NORM = 1.0


class AipResult(NamedTuple):
    """What one refresh did to one AIP; cross-entropies in nats per source, on held-out episodes."""

    ce_before: float
    ce_after: float
    ce_marginal: float
    """Of a predictor that knows only how often each class occurs."""
    epochs: int


@jit_part
def _cross_entropy(
    s: Shape,
    n_classes: int,
    influence: NDArray[np.uint8],  # [episodes * steps, sources]
    rows: NDArray[np.int32],  # [n]
    n: int,
    ws: Workspace,
    probabilities: Floats,  # [n_out], scratch
    d_out: Floats,  # [n, n_out], out: gradient of the mean
) -> Scalar:
    """Mean cross-entropy per source of the outputs in ``ws.out``, and its gradient."""
    n_sources = s.n_out // n_classes
    share = np.float32(1.0 / (n * n_sources))
    total_ce = 0.0
    for i in range(n):
        for source in range(n_sources):
            start, stop = source * n_classes, (source + 1) * n_classes
            top, total = softmax_part(ws.out, i, start, stop, probabilities)
            label = start + influence[rows[i], source]
            total_ce -= ws.out[i, label] - top - math.log(total)
            for k in range(start, stop):
                d_out[i, k] = share * probabilities[k] / total
            d_out[i, label] -= share
    return total_ce / (n * n_sources)


@jit_part
def _mean_ce(
    s: Shape,
    p: Floats,
    n_classes: int,
    indices: NDArray[np.int16],
    counts: NDArray[np.int32],
    influence: NDArray[np.uint8],
    first: int,  # episode
    last: int,
    n_steps: int,
    ws: Workspace,  # of at least (last - first) * n_steps samples
    d_out: Floats,
) -> Scalar:
    """Mean cross-entropy over the episodes first .. last - 1."""
    n = last - first
    rows = np.zeros(n * n_steps, dtype=np.int32)
    for t in range(n_steps):
        for b in range(n):
            rows[t * n + b] = (first + b) * n_steps + t
    probabilities = np.zeros(s.n_out, dtype=np.float32)
    if s.kind == GRU:
        ws.hidden[:n] = 0.0
    prepare(s, p, ws)
    forward(s, p, indices, counts, rows, n_steps, n, ws)
    return _cross_entropy(s, n_classes, influence, rows, n * n_steps, ws, probabilities, d_out)


@jit
def _train(
    s: Shape,
    n_classes: int,
    parameters: Floats,  # [parameters], in place
    dsets: NDArray[np.uint8],  # [episodes, steps, bytes]
    influence: NDArray[np.uint8],  # [episodes * steps, sources]
    n_train: int,  # the first episodes; the others are held out
    epochs: int,
    patience: int,
    sequences: int,  # per minibatch
    length: int,  # steps of a sequence
    learning_rate: float,
    seed: Scalar,  # 64 bits
    ws: Workspace,  # of a minibatch
    held_ws: Workspace,  # of the held-out episodes
) -> tuple[float, float, int]:
    n_episodes, n_steps, n_bytes = dsets.shape
    n_rows = n_episodes * n_steps
    indices = np.zeros((n_rows, s.n_in), dtype=np.int16)
    counts = np.zeros(n_rows, dtype=np.int32)
    unpack_active(dsets.reshape((n_rows, n_bytes)), s.n_in, indices, counts)
    held_d_out = np.zeros(((n_episodes - n_train) * n_steps, s.n_out), dtype=np.float32)
    held_out = (n_classes, indices, counts, influence, n_train, n_episodes, n_steps, held_ws, held_d_out)
    before = _mean_ce(s, parameters, *held_out)
    best_ce, best, since_best = before, parameters.copy(), 0
    m, v, gradient = np.zeros_like(parameters), np.zeros_like(parameters), np.zeros_like(parameters)
    probabilities = np.zeros(s.n_out, dtype=np.float32)
    d_out = np.zeros((sequences * length, s.n_out), dtype=np.float32)
    rows = np.zeros(sequences * length, dtype=np.int32)
    per_episode = n_steps // length
    order = np.arange(n_train * per_episode).astype(np.int32)
    stream = np.zeros(1, dtype=np.uint64)
    stream[0] = seed
    adam_steps, epoch = 0, 0
    while epoch < epochs and since_best < patience:
        shuffle(order, stream)
        for start in range(0, order.shape[0], sequences):
            chunk = order[start : start + sequences]
            n = chunk.shape[0]
            for b in range(n):
                first = (chunk[b] // per_episode) * n_steps + (chunk[b] % per_episode) * length
                for k in range(length):
                    rows[k * n + b] = first + k
            if s.kind == GRU:
                ws.hidden[:n] = 0.0
            prepare(s, parameters, ws)
            forward(s, parameters, indices, counts, rows, length, n, ws)
            _cross_entropy(s, n_classes, influence, rows, n * length, ws, probabilities, d_out)
            backward(s, parameters, indices, counts, rows, length, n, ws, d_out[: n * length], gradient)
            adam_steps += 1
            adam_step(parameters, m, v, adam_steps, learning_rate, 1e-8, gradient, MAX_GRADIENT_NORM)
        epoch += 1
        ce = _mean_ce(s, parameters, *held_out)
        since_best += 1
        if ce < best_ce:
            best_ce, since_best = ce, 0
            best[:] = parameters
    parameters[:] = best
    return before, best_ce, epoch


def marginal_cross_entropy(train: NDArray[np.uint8], held_out: NDArray[np.uint8], n_classes: int) -> Scalar:
    """Cross-entropy on ``held_out`` of the frequencies in ``train``; both [n, sources], nats a source."""
    total = 0.0
    for source in range(train.shape[1]):
        counts = np.bincount(train[:, source], minlength=n_classes) + 1.0  # no class is impossible
        log_p = np.log(counts / counts.sum())
        total -= float(log_p[held_out[:, source]].mean())
    return total / train.shape[1]


def train_aip(
    shape: Shape,
    n_classes: int,
    parameters: Floats,
    dsets: NDArray[np.uint8],
    influence: NDArray[np.uint8],
    *,
    epochs: int,
    patience: int,
    minibatch_sequences: int,
    learning_rate: float,
    seed: int,
) -> AipResult:
    """Train one AIP in place.

    Args:
        shape: of the AIP; ``n_out`` = sources x classes.
        n_classes: classes of each source.
        parameters: [parameters], in place; ends as the best on the held-out episodes.
        dsets: packed d-sets, [episodes, steps, bytes].
        influence: class of each source after each d-set, [episodes, steps, sources].
        epochs: passes over the training episodes at the most.
        patience: epochs without a better held-out cross-entropy after which training stops.
        minibatch_sequences: sequences in a minibatch: whole episodes (GRU) or steps (feed-forward).
        learning_rate: of Adam.
        seed: of the order of minibatches.
    """
    n_episodes, n_steps, n_sources = influence.shape
    n_train = n_episodes - max(1, round(HELD_OUT_SHARE * n_episodes))
    length = n_steps if shape.kind == GRU else 1
    n_held = n_episodes - n_train
    before, after, used = _train(
        shape,
        n_classes,
        parameters,
        dsets,
        influence.reshape(-1, n_sources),
        n_train,
        epochs,
        patience,
        minibatch_sequences,
        length,
        learning_rate,
        np.uint64(seed),
        make_workspace(shape, minibatch_sequences * length, minibatch_sequences),
        make_workspace(shape, n_held * n_steps, n_held, gradient=False),
    )
    marginal = marginal_cross_entropy(
        influence[:n_train].reshape(-1, n_sources), influence[n_train:].reshape(-1, n_sources), n_classes
    )
    return AipResult(before, after, marginal, used)


@jit
def aip_cross_entropy(
    s: Shape,
    p: Floats,
    n_classes: int,
    dsets: NDArray[np.uint8],  # [episodes, steps, bytes]
    influence: NDArray[np.uint8],  # [episodes, steps, sources]
    ws: Workspace,
    d_out: Floats,  # [episodes * steps, n_out], scratch
) -> Scalar:
    """Cross-entropy of an AIP on episodes that it has not seen, nats per source."""
    n_episodes, n_steps, n_bytes = dsets.shape
    n_rows = n_episodes * n_steps
    indices = np.zeros((n_rows, s.n_in), dtype=np.int16)
    counts = np.zeros(n_rows, dtype=np.int32)
    unpack_active(dsets.reshape((n_rows, n_bytes)), s.n_in, indices, counts)
    labels = influence.reshape((n_rows, influence.shape[2]))
    return _mean_ce(s, p, n_classes, indices, counts, labels, 0, n_episodes, n_steps, ws, d_out)


def cross_entropy(
    shape: Shape, parameters: Floats, n_classes: int, dsets: NDArray[np.uint8], influence: NDArray[np.uint8]
) -> float:
    """Cross-entropy of one AIP on fresh episodes, nats per source (shapes as in :func:`train_aip`)."""
    n_episodes, n_steps, _ = influence.shape
    ws = make_workspace(shape, n_episodes * n_steps, n_episodes, gradient=False)
    d_out = np.zeros((n_episodes * n_steps, shape.n_out), dtype=np.float32)
    return float(aip_cross_entropy(shape, parameters, n_classes, dsets, influence, ws, d_out))
