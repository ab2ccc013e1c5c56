"""Networks of every kind with random weights and inputs, and the same in torch at double precision."""

from typing import NamedTuple

import numpy as np
import torch

from dials_async.kernels.bits import fill_table, make_lists, make_table, pack
from dials_async.learning.ppo_torch import network
from dials_async.networks.layout import GRU, MLP, Shape, Workspace, make_workspace, n_parameters

N_IN, STEPS, SEQUENCES = 11, 5, 3

#: Where ladders begin, and bits of one, in the networks that have any.
LADDER_FROM, LADDER_STEPS = 2, 3

#: Both kinds with and without their optional layer, for inputs 0 / 1 and -1 / +1, on plain bits and ladders,
#: of sizes below, at and above whole vectors.
SHAPES = {
    f"{name}-{'signed' if signed else 'binary'}{'-ladders' if steps > 1 else ''}": Shape(
        kind, N_IN, h1, h2, n_out, signed, LADDER_FROM, steps
    )
    for name, kind, h1, h2, n_out in (
        ("mlp1", MLP, 7, 0, 4),
        ("mlp2", MLP, 7, 6, 4),
        ("mlp2-square", MLP, 7, 7, 4),  # as large a layer as the one before: they share memory
        ("mlp2-square-whole", MLP, 16, 16, 4),
        ("gru", GRU, 0, 6, 4),
        ("tanh-gru", GRU, 7, 6, 4),
        ("mlp2-whole", MLP, 16, 32, 16),
        ("tanh-gru-whole", GRU, 32, 16, 16),
        ("mlp2-odd", MLP, 81, 35, 17),
        ("gru-odd", GRU, 0, 23, 19),
    )
    for signed in (0, 1)
    for steps in (1, LADDER_STEPS)
}


def random_bits(rng: np.random.Generator, shape: Shape, *size: int) -> np.ndarray:
    """Observations that keep to the ladders of ``shape``, 0 / 1, [*size, bits]."""
    bits = rng.integers(0, 2, (*size, shape.n_in), dtype=np.uint8)
    ladders = bits[..., shape.ladder_from :].reshape(*size, -1, shape.ladder_steps)
    ladders[:] = np.minimum.accumulate(ladders, axis=-1)
    return bits


class Example(NamedTuple):
    """A network, its inputs, and scratch for it."""

    shape: Shape
    parameters: np.ndarray  # float32 [parameters]
    bits: np.ndarray  # 0 / 1, [steps, sequences, bits]
    indices: np.ndarray  # [steps * sequences, most]: active bits
    counts: np.ndarray  # [steps * sequences]
    ws: Workspace


def active_lists(bits: np.ndarray, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """What a network takes: for each of ``bits`` [n, bits] which ones are set."""
    entries, starts = make_table(len(bits), shape.n_in)
    fill_table(pack(bits), shape.n_in, shape.ladder_from, shape.ladder_steps, entries, starts)
    indices, counts = make_lists(len(bits), shape.n_in)
    counts[:] = np.diff(starts)
    for line, start, count in zip(indices, starts, counts, strict=False):
        line[:count] = entries[0, start : start + count]
    return indices, counts


def make_example(shape: Shape, seed: int = 0, steps: int = STEPS, sequences: int = SEQUENCES) -> Example:
    rng = np.random.default_rng(seed)
    parameters = rng.normal(0, 0.5, n_parameters(shape)).astype(np.float32)
    bits = random_bits(rng, shape, steps, sequences)
    n = steps * sequences
    indices, counts = active_lists(bits.reshape(n, -1), shape)
    return Example(shape, parameters, bits, indices, counts, make_workspace(shape, n, sequences))


def torch_outputs(example: Example, hidden: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs [steps, sequences, n_out] in float64, and the parameters that they can be derived by."""
    theta = torch.from_numpy(example.parameters.astype(np.float64)).requires_grad_()
    start = np.zeros((example.bits.shape[1], example.shape.h2)) if hidden is None else hidden
    inputs = torch.from_numpy(example.bits.astype(np.float64))
    outputs, _ = network(example.shape, theta, inputs, torch.from_numpy(start.astype(np.float64)))
    return outputs, theta
