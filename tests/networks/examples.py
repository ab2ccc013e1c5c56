"""Networks of every kind with random weights and inputs, and the same in torch at double precision."""

from typing import NamedTuple

import numpy as np
import torch

from dials_async.kernels.bits import pack, unpack_active
from dials_async.learning.ppo_torch import network
from dials_async.networks.layout import GRU, MLP, Shape, Workspace, make_workspace, n_parameters

N_IN, STEPS, SEQUENCES = 11, 5, 3

#: Both kinds with and without their optional layer, for inputs 0 / 1 and -1 / +1.
SHAPES = {
    f"{name}-{'signed' if signed else 'binary'}": Shape(kind, N_IN, h1, h2, 4, signed)
    for name, kind, h1, h2 in (
        ("mlp1", MLP, 7, 0),
        (
            "mlp2",
            MLP,
            7,
            6,
        ),
        ("gru", GRU, 0, 6),
        ("tanh-gru", GRU, 7, 6),
    )
    for signed in (0, 1)
}


class Example(NamedTuple):
    """A network, its input table in shuffled order, and scratch for it."""

    shape: Shape
    parameters: np.ndarray  # float32 [parameters]
    bits: np.ndarray  # 0 / 1, [steps, sequences, bits]
    indices: np.ndarray
    counts: np.ndarray
    rows: np.ndarray  # [steps * sequences]
    ws: Workspace


def make_example(shape: Shape, seed: int = 0, steps: int = STEPS, sequences: int = SEQUENCES) -> Example:
    rng = np.random.default_rng(seed)
    parameters = rng.normal(0, 0.5, n_parameters(shape)).astype(np.float32)
    bits = rng.integers(0, 2, (steps, sequences, shape.n_in), dtype=np.uint8)
    n = steps * sequences
    rows = rng.permutation(n).astype(np.int32)  # where each sample stands in the table
    table = np.zeros((n, shape.n_in), dtype=np.uint8)
    table[rows] = bits.reshape(n, -1)
    indices, counts = np.zeros((n, shape.n_in), dtype=np.int16), np.zeros(n, dtype=np.int32)
    unpack_active(pack(table), shape.n_in, indices, counts)
    return Example(shape, parameters, bits, indices, counts, rows, make_workspace(shape, n, sequences))


def torch_outputs(example: Example, hidden: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs [steps, sequences, n_out] in float64, and the parameters that they can be derived by."""
    theta = torch.from_numpy(example.parameters.astype(np.float64)).requires_grad_()
    start = np.zeros((example.bits.shape[1], example.shape.h2)) if hidden is None else hidden
    inputs = torch.from_numpy(example.bits.astype(np.float64))
    outputs, _ = network(example.shape, theta, inputs, torch.from_numpy(start.astype(np.float64)))
    return outputs, theta
