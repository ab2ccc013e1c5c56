"""Training of one agent's AIP on recorded episodes (Algorithm 1, line 5), compiled.

The AIP is a classifier: after every step of the d-set's history it predicts the class of each influence
source, and is trained on the cross-entropy (paper, section 3.2). A GRU reads whole episodes, a
feed-forward AIP single steps. Training stops early on held-out episodes and keeps the best weights.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import COPIED_AT_LEAST, fill_table, take_lists
from dials_async.kernels.compile import Scalar, jit, jit_inline, jit_part, jit_part_with_arrays
from dials_async.kernels.functions import log
from dials_async.kernels.rng import shuffle
from dials_async.networks.adam import adam_step
from dials_async.networks.layout import GRU, Shape, Workspace, make_workspace
from dials_async.networks.network import backward, clear_hidden, forward, prepare
from dials_async.networks.sampling import softmax

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
    ws: Workspace,  # its d_out: gradient of the mean, out; its out becomes scratch
    probabilities: Floats,  # as ws.out, scratch
    log_totals: Floats,  # [n, sources], scratch
    gradient: bool,  # whether d_out is wanted
) -> Scalar:
    """Mean cross-entropy per source of the outputs in ``ws.out``, and its gradient."""
    n_sources = s.n_out // n_classes
    softmax(ws.out, n, n_sources, n_classes, probabilities, log_totals)
    total = 0.0
    for i in range(n):
        for source in range(n_sources):
            label = source * n_classes + influence[rows[i], source]
            total -= ws.out[i, label] - log_totals[i, source]
    if gradient:
        share = np.float32(1.0 / (n * n_sources))
        for i in range(n):
            for source in range(n_sources):
                start, stop = source * n_classes, (source + 1) * n_classes
                weight = np.float32(0.0)
                for k in range(start, stop):
                    weight += probabilities[i, k]
                scale = share / weight
                for k in range(start, stop):
                    ws.d_out[i, k] = scale * probabilities[i, k]
                ws.d_out[i, start + influence[rows[i], source]] -= share
    return total / (n * n_sources)


@jit_part_with_arrays
def _mean_ce(
    s: Shape,
    p: Floats,
    n_classes: int,
    entries: NDArray[np.int16],  # table of active bits (``kernels.bits``)
    starts: NDArray[np.int32],
    influence: NDArray[np.uint8],
    first: int,  # episode
    last: int,
    n_steps: int,
    ws: Workspace,  # of at least (last - first) * n_steps samples
) -> Scalar:
    """Mean cross-entropy over the episodes first .. last - 1."""
    n = last - first
    rows = np.zeros(n * n_steps, dtype=np.int32)
    for t in range(n_steps):
        for b in range(n):
            rows[t * n + b] = (first + b) * n_steps + t
    if s.kind == GRU:
        clear_hidden(s, n, ws)
    prepare(s, p, ws)
    indices = np.zeros((n * n_steps, max(s.n_in, COPIED_AT_LEAST)), dtype=np.int16)
    counts = np.zeros(n * n_steps, dtype=np.int32)
    take_lists(entries, starts, rows, n * n_steps, indices, counts)
    forward(s, indices, counts, n_steps, n, ws)
    log_totals = np.zeros((n * n_steps, s.n_out // n_classes), dtype=np.float32)
    return _cross_entropy(
        s, n_classes, influence, rows, n * n_steps, ws, np.zeros_like(ws.out), log_totals, False
    )


@jit_inline
def _copy(source: Floats, target: Floats) -> None:
    for k in range(source.shape[0]):
        target[k] = source[k]


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
    entries = np.zeros((1, n_rows * s.n_in + COPIED_AT_LEAST), dtype=np.int16)
    starts = np.zeros(n_rows + 1, dtype=np.int32)
    packed = dsets.reshape((n_rows, n_bytes))
    fill_table(packed, s.n_in, s.ladder_from, s.ladder_steps, entries, starts)
    held_out = (n_classes, entries, starts, influence, n_train, n_episodes, n_steps, held_ws)
    before = _mean_ce(s, parameters, *held_out)
    best_ce, best, since_best = before, parameters.copy(), 0
    m, v, gradient = np.zeros_like(parameters), np.zeros_like(parameters), np.zeros_like(parameters)
    probabilities = np.zeros_like(ws.out)
    log_totals = np.zeros((sequences * length, s.n_out // n_classes), dtype=np.float32)
    rows = np.zeros(sequences * length, dtype=np.int32)
    indices = np.zeros((rows.shape[0], max(s.n_in, COPIED_AT_LEAST)), dtype=np.int16)
    counts = np.zeros(rows.shape[0], dtype=np.int32)
    per_episode = n_steps // length
    order = np.zeros(n_train * per_episode, dtype=np.int32)
    for k in range(order.shape[0]):
        order[k] = k
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
                clear_hidden(s, n, ws)
            prepare(s, parameters, ws)
            take_lists(entries, starts, rows, n * length, indices, counts)
            forward(s, indices, counts, length, n, ws)
            _cross_entropy(s, n_classes, influence, rows, n * length, ws, probabilities, log_totals, True)
            backward(s, indices, counts, length, n, ws, gradient)
            adam_steps += 1
            adam_step(parameters, m, v, adam_steps, learning_rate, 1e-8, gradient, MAX_GRADIENT_NORM)
        epoch += 1
        ce = _mean_ce(s, parameters, *held_out)
        since_best += 1
        if ce < best_ce:
            best_ce, since_best = ce, 0
            _copy(parameters, best)
    _copy(best, parameters)
    return before, best_ce, epoch


@jit
def marginal_cross_entropy(train: NDArray[np.uint8], held_out: NDArray[np.uint8], n_classes: int) -> Scalar:
    """Cross-entropy on ``held_out`` of the frequencies in ``train``; both [n, sources], nats a source."""
    total = 0.0
    for source in range(train.shape[1]):
        seen = np.ones(n_classes, dtype=np.int64)  # no class is impossible
        for i in range(train.shape[0]):
            seen[train[i, source]] += 1
        for i in range(held_out.shape[0]):
            total -= log(np.float32(seen[held_out[i, source]] / (train.shape[0] + n_classes)))
    return total / (train.shape[1] * held_out.shape[0])


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


def aip_cross_entropy(
    shape: Shape,
    parameters: Floats,
    n_classes: int,
    dsets: NDArray[np.uint8],  # [episodes, steps, bytes]
    influence: NDArray[np.uint8],  # [episodes, steps, sources]
    ws: Workspace,  # of all their samples
) -> float:
    """Cross-entropy of an AIP on episodes that it has not seen, nats per source; leaves logits in ``ws.out``.

    The same kernel as for training, with every episode held out: it need not be compiled twice.
    """
    n_sources = influence.shape[2]
    n_train, epochs, patience, sequences, length, rate = 0, 0, 1, 1, 1, 0.0
    ce, _, _ = _train(
        shape,
        n_classes,
        parameters.copy(),
        dsets,
        influence.reshape(-1, n_sources),
        n_train,
        epochs,
        patience,
        sequences,
        length,
        rate,
        np.uint64(0),
        make_workspace(shape, 1, 1),
        ws,
    )
    return ce


def cross_entropy(
    shape: Shape, parameters: Floats, n_classes: int, dsets: NDArray[np.uint8], influence: NDArray[np.uint8]
) -> float:
    """Cross-entropy of one AIP on fresh episodes, nats per source (shapes as in :func:`train_aip`)."""
    n_episodes, n_steps, _ = influence.shape
    ws = make_workspace(shape, n_episodes * n_steps, n_episodes, gradient=False)
    return aip_cross_entropy(shape, parameters, n_classes, dsets, influence, ws)
